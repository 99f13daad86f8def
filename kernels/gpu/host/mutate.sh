#!/usr/bin/env bash
# Proves that the self-test can fail: breaks a copy of the kernels in one place at a time and wants
# every broken copy to be reported. Usage: mutate.sh [--list] [PATTERN]; a pattern picks mutations by
# name. Needs g++ 12 or later and perl; up to an hour on 2 cores. Exit codes: 0 all were reported,
# 1 a mutation survived or could not be applied, 2 wrong usage.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-std=c++20 -Wno-unknown-pragmas -pthread -g0"

# Names that begin with metal: are of the Metal form, the others of CUDA's.
# name | file | perl expression that breaks it | sanitizer (thread, address, none) | groups of the
# self-test, each of which must report. A barrier is taken away by its number in the file.
barrier() {
    echo "my \$n = 0; s{BARRIER\\(\\);}{++\$n == $1 ? '' : \$&}ge"
}
mutations=$(
    cat <<TABLE
forward: no barrier behind the panels|persistent.h|$(barrier 1)|thread|tanh/f32 gru/f32 lstm/f32
forward: no barrier between steps|persistent.h|$(barrier 2)|thread|tanh/f32 gru/f32 lstm/f32
backward: no barrier between steps|persistent.h|$(barrier 3)|thread|tanh/f32 gru/f32 lstm/f32
one tile instead of two|persistent.h|s/\\(step & 1\\) \\* tile/0 * tile/|thread|tanh/f32 gru/f32 lstm/f32
panels filled one word further|weights.h|s/\\* 4 \\+ column % 4\\]/* 4 + column % 4 + 1]/|address|tanh/f32
panels read one row further|weights.h|s/\\(panels\\) \\+ first/(panels) + first + 1/|address|gru/f32
outputs written one number further|cell.h|s/place.output \\+ unit\\] = h_t/place.output + unit + 1] = h_t/|address|tanh/f32
delta_x written one number further|cell.h|s/pass.delta_x\\[at\\]/pass.delta_x[at + 1]/|address|lstm/f32
shared memory without the states|persistent.h|s/\\(has_state \\? 4 \\* rows \\* units : 0\\)/0/|address|gru/f32 lstm/f32
shared memory for one tile|persistent.h|s/return 4 \\* 2 \\* rows/return 4 * rows/|address|tanh/f32
adam goes one number too far|adam.h|s/at < end; at/at <= end; at/|address|adam
step kernels without an end|stepwise.h|s/exists = row < batch_size/exists = true/|address|tanh/f32
next tile of h one number further|persistent.h|s/next\\[r \\* shared.depth \\+ unit\\]/next[r * shared.depth + unit + 1]/|none|tanh/f32
padding of the deltas not cleared|persistent.h|s/i % shared.depth >= k\\)/false)/|none|tanh/f32
reverse begins one step late|common.h|s/length - 1 - step : step/length - 2 - step : step/|none|tanh/f32
segments one step off|common.h|s/next % segment/(next + 1) % segment/|none|gru/f32
reversed segments counted from the row's end|common.h|s/batch.seq_len - length : 0/0 : 0/|none|gru/f32
no gradient of h_n|cell.h|s/grad_h \\+= at_or_zero\\(pass.grad_h_n.*/;/|none|tanh/f32
no gradient of c_n|cell.h|s/state \\+= at_or_zero\\(pass.grad_c_n.*/;/|none|lstm/f32
state survives a segment|cell.h|s/^ +state = 0.f;/;/m|none|lstm/f32
backward without the mask|cell.h|s/from_product \\* pass.batch.mask_of\\(row, unit\\)/from_product/|none|tanh/f32
rows without steps forgotten, forward|cell.h|s/length\\(row\\) == 0\\) \\{\n        write/length(row) == -1) {\n        write/|none|tanh/f32
rows without steps forgotten, backward|cell.h|s/length\\(row\\) == 0\\) \\{\n        grad_h/length(row) == -1) {\n        grad_h/|none|gru/f32
gru: the state after instead of before|gru_cell.h|s/place.output_before/place.output/|none|gru/f32
gru: one delta for both sides|gru_cell.h|s/delta_n \\* kept.r/delta_n/|none|gru/f32
lstm: c after instead of before|lstm_cell.h|s/place.at_before/place.at/|none|lstm/f32
lstm: gates exchanged|lstm_cell.h|s/(x\\[)0(\\] \\+ z\\[)0/\${1}1\${2}1/|none|lstm/f32
relu's slope at 0|rnn_cell.h|s/kept.h_t == 0.f \\? 0.f : grad_h/grad_h/|none|relu/f32
relu loses NaN|rnn_cell.h|s/sum <= 0.f \\? 0.f : sum/sum > 0.f ? sum : 0.f/|none|nan
bf16 cut instead of rounded|common.h|s/bits \\+ 0x7fffu \\+ \\(\\(bits >> 16\\) & 1u\\)/bits/|none|words tanh/bf16
bf16 ties away from even|common.h|s/0x7fffu \\+ \\(\\(bits >> 16\\) & 1u\\)/0x8000u/|none|words
strides swapped|cell.h|s/_row_stride = outputs_row/_row_stride = outputs_step/|none|tanh/f32
rnn: gradients swapped|rnn_kernels.inc|s/grad_h_n = GIVEN\\(5, grad_h_n/grad_h_n = GIVEN(5, mask/|none|tanh/f32
gru: deltas swapped|gru_kernels.inc|s/delta_x = delta_x/delta_x = delta_h/; s/delta_h = delta_h/delta_h = delta_x/|none|gru/f32
lstm: initial states swapped|lstm_kernels.inc|s/3, h_0\\)/3, c_0)/; s/4, c_0\\)/4, h_0)/|none|lstm/f32
step: operand without the mask|stepwise.h|s/narrow<Word>\\(h_t \\* mask\\)/narrow<Word>(h_t)/|none|tanh/f32
step: no b_hh|stepwise.h|s/z\\[g\\] \\+= .*/;/|none|gru/f32
step: end without the state|step.h|s/\\(past_product \\? past_product\\[own.at\\] : 0.f\\)/0.f/|none|gru/f32
rows: read behind the ends|rows.h|s/static_cast<int>\\(step\\) < steps\\[row\\]/true/|none|rows
rows: copied instead of added|rows.h|s/adds \\? to\\[at\\] \\+ value : value/value/|none|rows
rows: rows and steps exchanged|rows.h|s/row \\* from_row_stride \\+ step \\* from_step_stride/step * from_row_stride + row * from_step_stride/|none|rows
rows: no second bias|rows.h|s/more \\? bias\\[unit\\] \\+ more\\[unit\\] : bias\\[unit\\]/bias[unit]/|none|rows
rows: one number too far|rows.h|s/i < count; i \\+= own.stride/i <= count; i += own.stride/|address|rows
adam: decays swapped|adam.h|s/beta1 \\* slot/beta2 * slot/|none|adam
adam: slots counted from the first|adam.h|s{i = at - before}{i = at}|address|adam
adam: no weight decay|adam.h|s/keep \\* slot.param/slot.param/|none|adam
adam: a coefficient late|adam.h|s/step_size = coefficients\\[4\\]/step_size = coefficients[5]/|none|adam
rows: weights not copied to their end|rows.h|s/i < static_cast<size_t>\\(copy_count\\)/i + 1 < static_cast<size_t>(copy_count)/|none|rows
loss: no barrier behind a chunk|loss.h|$(barrier 2)|thread|loss/head
loss: no barrier before a chunk|loss.h|$(barrier 1)|thread|loss/head
loss: no barrier behind the logits|loss.h|$(barrier 3)|thread|loss/head
loss: no barrier before the losses are added|loss.h|$(barrier 4)|thread|loss/head
loss: no barrier while losses are added|softmax.h|$(barrier 1)|thread|loss/head loss/logits
loss: no barrier between a row's lanes|softmax.h|$(barrier 2)|thread|loss/logits
loss: no barrier behind a row's lanes|softmax.h|$(barrier 4)|thread|loss/logits
loss: rows behind the last|loss.h|s/row < rows && feature < features/feature < features/|address|loss/head
loss: features behind the last|loss.h|s/c < classes && feature < features/c < classes/|address|loss/head
loss: the last tile is a whole one|loss.h|s/if \(row < rows\) \{/if (true) {/|address|loss/head
loss: a tile without the losses|loss.h|s/losses = logits \+ tile/losses = logits + 1 + tile/|address|loss/head
loss: gradients of one number too many|loss.h|s/at < static_cast<size_t>\(count\)/at <= static_cast<size_t>(count)/|address|loss/logits
loss: the largest logit is not taken away|softmax.h|s/float above = z\[c\] - max/float above = z[c]/|none|loss/head loss/logits
loss: no smoothing|softmax.h|s/own \+ smoothing \/ static_cast<float>\(classes\)/own/|none|loss/head loss/logits
loss: class weights forgotten|softmax.h|s/class_weights \? target \* class_weights\[c\] : target/target/|none|loss/logits
loss: weighted targets sum to 1|softmax.h|s/targets.class_weights \? sums.mass : 1.f/1.f/|none|loss/logits
loss: a wrong label passes|softmax.h|s/is_class \? of_row : float_of_bits\(0x7fc00000u\)/of_row/|none|loss/logits
loss: labels of steps counted by rows|loss.h|s{labels\[row / steps\]}{labels[row % steps]}|none|loss/logits
loss: rows of weight 0 are read|loss.h|s/own_weight != 0.f \? classes : 0/classes/|none|loss/logits
loss: the head's bias left out|loss.h|s/z\[j\] \+ head.bias_of\(c\)/z[j]/|none|loss/head
loss: backward without the gradient of the loss|loss.h|s/grad\[0\] \* //g|none|loss/head loss/logits
loss: the head's gradient of its input in one place|loss.h|s/of_h\[at\] = /of_h[0 * at] = /|none|loss/head
loss: the last block is left out|loss.h|s/i < count; i \+= threads.count\) \{\n        own/i < count - 1; i += threads.count) {\n        own/|none|loss/head loss/logits
metal: no barrier behind a chunk of the head|loss.h|$(barrier 2)|thread|loss/head
metal: a bias that is not given is read|loss.h|s/GIVEN\(2, bias\)/bias/|none|loss/head
team: no barrier behind the gather|team_sweeps.h|$(barrier 1)|thread|team/tanh team/gru
team: no barrier behind the product|team_sweeps.h|$(barrier 2)|thread|team/tanh team/gru
team: no barrier behind the gather of deltas|team_sweeps.h|$(barrier 3)|thread|team/tanh team/gru
team: no barrier behind the product of deltas|team_sweeps.h|$(barrier 4)|thread|team/tanh team/gru
team: a plain store to other blocks|exchange.h|s/relaxed_store\\(at, (.*)\\);/*at = \$1;/|thread|team/tanh
team: no wait|exchange.h|s/polls; is_armed\\(words\\); left/polls; false; left/|none|team/tanh team/gru
team: nothing is published|exchange.h|s/relaxed_store\\(at, .*/;/|none|team/tanh team/gru
team: an armed number is published as it is|exchange.h|s/is_armed\\(value\\) \\? .*/value);/|none|team/nan
team: gives up in silence|exchange.h|s/raise_alarm\\(alarm\\);/;/|none|team/end
team: two blocks own the same units|team.h|s/threads.block % size.members \\* width/threads.block % size.members \\/ 2 * width/|none|team/tanh
team: words armed again by their first reader|team.h|s/(store\\(at \\/ quads, at % quads, words\\[i\\]\\);)/\$1 if (from[i]) relaxed_store(const_cast<float*>(from[i]), float_of_bits(0xffffffffu));/|none|team/tanh
team: the first step waits|team_sweeps.h|s/if \\(step == 0\\) \\{/if (step < 0) {/|none|team/tanh
team: published without the mask|team_sweeps.h|s/h_t \\* mask\\);/h_t);/|none|team/tanh
team: the next place counted forwards|team_sweeps.h|s/pass.h_in \\+ next.at/pass.h_in + (place.at + 1)/|none|team/tanh
team: a part of K left out|team.h|s/for \\(int p = 0; p < parts/for (int p = 0; p < 1/|none|team/lstm
team: gates exchanged|team.h|s/const int row = gate \\* hidden_size/const int row = (gate ^ 1) * hidden_size/|none|team/lstm
team: a level of the sum left out|team.h|s/add_halves<1>\\(sums, lane\\);/;/|none|team/tanh
team: directions share their initial states|team_sweeps.h|s/part_of\\(all.h_0, direction, states\\)/all.h_0/g|none|team/gru
team: directions share gx|team_sweeps.h|s/all.gx \\+ direction/all.gx + 0/|none|team/tanh
team: groups share their states|team_sweeps.h|s/state \\+ \\(first \\+ owner.row\\)/state + (owner.row)/g|none|team/lstm
team: rows behind the batch's end|team.h|s/rows = batch_size - first_row < size.rows \\? .*/rows = size.rows;/|address|team/tanh
team: shared memory without the states|team.h|s/ \\+ static_cast<size_t>\\(rows\\) \\* width\\)/)/|address|team/lstm
team: the last words of K read whole|team.h|s/is_aligned = k % 4 == 0/is_aligned = true/|none|team/tanh
team: gx read from the next step|team_sweeps.h|s/place.at \\* size.directions \\* G/(place.at + 1) * size.directions * G/|none|team/tanh
mma: the halves of a fragment exchanged|team_mma.h|s/half \\+ 2 \\* \\(i % 2\\)/(half ^ 1) + 2 * (i % 2)/|none|mma_tf32/tanh mma_bf16/tanh
mma: the words of a fragment exchanged|team_mma.h|s/word\\(own, word \\+ i\\)/word(own, word + (i ^ 1))/|none|mma_tf32/gru mma_bf16/gru
mma: a chunk of K left out|team_mma.h|s/int chunk = 0; chunk < CHUNKS/int chunk = 1; chunk < CHUNKS/|none|mma_tf32/tanh mma_bf16/tanh
mma: every part of K is the first|team_mma.h|s/return part \\* Products::WARP_WORDS/return 0/|none|mma_tf32/lstm mma_bf16/lstm
mma: half of the products dropped|team_mma.h|s/even\\[i\\] \\+ odd\\[i\\]/even[i]/|none|mma_tf32/tanh mma_bf16/tanh
mma: sums in bf16|team_mma.h|s/even\\[i\\] \\+ odd\\[i\\]/widen(narrow<unsigned short>(even[i] + odd[i]))/|none|mma_tf32/rounding mma_bf16/rounding
mma: what is gathered is cut|team_mma.h|s/float_of_bits\\(tf32_of\\(words\\.(.)\\)\\)/words.\$1/g|none|mma_tf32/rounding
mma: weights are cut|team_mma.h|s/return tf32_of\\(column\\(at\\)\\)/return bits_of_float(column(at))/|none|mma_tf32/rounding
mma: the halves of a word exchanged|team_mma.h|s/column\\(2 \\* at\\) /column(2 * at + 1) /; s/column\\(2 \\* at \\+ 1\\)\\) </column(2 * at)) </|none|mma_bf16/tanh
mma: rows of the sums exchanged|team_mma.h|s/row \\+ 2 \\* \\(lane % 4\\) \\+ i % 2/row + lane % 4 + 4 * (i % 2)/|none|mma_tf32/lstm mma_bf16/lstm
mma: what is behind K is read|team.h|s/ && 4 \\* quad < k \\?/ ?/|none|mma_tf32/tanh mma_bf16/tanh
mma: no barrier behind the gather|team_sweeps.h|$(barrier 1)|thread|mma_tf32/tanh mma_bf16/gru
mma: groups of four rows|team_mma.h|s/ROWS = 8,/ROWS = 4,/|none|mma_tf32/gru mma_bf16/gru
metal: no barrier between steps|persistent.h|$(barrier 2)|thread|tanh/f32 gru/f32 lstm/f32
metal: no barrier in reverse|persistent.h|$(barrier 3)|thread|tanh/f32 gru/f32 lstm/f32
metal: barrier of nothing|target.h|s/threadgroup_barrier\\(mem_flags::mem_threadgroup\\)/(void)0/|thread|tanh/f32
metal: weights read one row further|weights.h|s/matrix \\+ first;/matrix + first + 1;/|address|gru/f32
metal: weights read as CUDA has them|weights.h|s/words \\+= n\\) \\{/words += k) {/|none|lstm/f32
metal: shared memory without the states|persistent.h|s/\\(has_state \\? 4 \\* rows \\* units : 0\\)/0/|address|gru/f32 lstm/f32
metal: a tensor that is not given is read|target.h|s/\\(\\(given >> index & 1u\\) != 0u \\? name : nullptr\\)/name/|none|tanh/f32
metal: the next argument's bit|target.h|s/given >> index/given >> (index + 1)/|none|tanh/f32
metal: one argument asks for another|rnn_kernels.inc|s/BATCH\\(3, 4,/BATCH(3, 3,/|none|tanh/f32
metal: buffers swapped|lstm_kernels.inc|s/gx = gx/gx = c_0/|none|lstm/f32
metal: block and thread exchanged|target.h|s/static_cast<int>\\(thread_at\\), static_cast<int>\\(block_at\\)/static_cast<int>(block_at), static_cast<int>(thread_at)/|none|tanh/f32
TABLE
)

if [[ ${1:-} == --list ]]; then
    cut -d'|' -f1 <<<"$mutations"
    exit 0
fi
if ! mutations=$(grep -E -- "${1:-}" <<<"$mutations"); then
    echo "mutate.sh: no mutation is named $1" >&2
    exit 2
fi

# Builds the copy; the optimiser is left out where it is not needed.
build() {
    case $1 in
        thread) flags_of="-O1 -fsanitize=thread" ;;
        address) flags_of="-O0 -fsanitize=address" ;;
        none) flags_of="-O0" ;;
    esac
    [[ $2 != metal:* ]] || flags_of+=" -DMETAL -I$work/kernels/gpu/host/metal -Wno-attributes"
    g++ $flags $flags_of "$work/kernels/gpu/host/selftest.cpp" -o "$work/selftest" 2>"$work/build.log"
}

# What the run of a group reported: a race, memory, a mismatch; or nothing.
report() {
    TSAN_OPTIONS="halt_on_error=1 exitcode=66" ASAN_OPTIONS="exitcode=67 detect_leaks=0" \
        timeout 400 "$work/selftest" --quick --only "$1" >"$work/run.log" 2>&1
    case $? in
        0) echo survived ;;
        66) echo race ;;
        67) echo memory ;;
        1) echo mismatch ;;
        134 | 139) echo crash ;;
        *) echo "status $?" ;;
    esac
}

fresh() {
    rm -rf "$work/kernels"
    mkdir -p "$work/kernels"
    cp -r "$here/.." "$work/kernels/gpu"
}

failed=0
printf '%-48s %-8s %s\n' mutation build report
# What is not broken must not be reported: in the groups where the mutations are looked for.
for sanitizer in thread address none; do
    for language in cuda metal; do
        own=$(grep -F "|$sanitizer|" <<<"$mutations")
        if [[ $language == metal ]]; then own=$(grep ^metal: <<<"$own"); else own=$(grep -v ^metal: <<<"$own"); fi
        [[ -n $own ]] || continue
        fresh
        result=""
        if build "$sanitizer" "$language:"; then
            for group in $(cut -d'|' -f5 <<<"$own" | tr ' ' '\n' | sort -u); do
                found=$(report "$group")
                [[ $found == survived ]] || result+="$group: $found  "
            done
        else
            result="DOES NOT BUILD"
        fi
        [[ -z $result ]] || failed=1
        printf '%-48s %-8s %s\n' "$language: (nothing)" "$sanitizer" "${result:-survived}"
    done
done
while IFS='|' read -r name file expression sanitizer groups; do
    fresh
    perl -0pi -e "$expression" "$work/kernels/gpu/$file"
    if cmp -s "$here/../$file" "$work/kernels/gpu/$file"; then
        result="NOT APPLIED"
        failed=1
    elif ! build "$sanitizer" "$name"; then
        result="DOES NOT BUILD"
        failed=1
    else
        result=""
        for group in $groups; do
            found=$(report "$group")
            # A missing barrier must be seen as what it is, not by the luck of a wrong number.
            if [[ ! $found =~ ^(race|memory|mismatch|crash)$ ]] ||
                [[ $sanitizer == thread && $found != race ]]; then
                found="$found (SURVIVED)"
                failed=1
            fi
            result+="$group: $found  "
        done
    fi
    printf '%-48s %-8s %s\n' "$name" "$sanitizer" "$result"
done <<<"$mutations"
exit "$failed"
