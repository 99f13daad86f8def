//! The Metal kernels' source: the system's compiler takes it as one text, so included files are pasted.

/// The files of `kernels/gpu/` that Metal's kernels are made of.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../kernels/gpu/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "adam.h",
    "adam.metal",
    "cell.h",
    "common.h",
    "gru.h",
    "gru.metal",
    "gru_cell.h",
    "gru_kernels.inc",
    "loss.h",
    "loss.metal",
    "lstm.h",
    "lstm.metal",
    "lstm_cell.h",
    "lstm_kernels.inc",
    "persistent.h",
    "rnn.h",
    "rnn.metal",
    "rnn_cell.h",
    "rnn_kernels.inc",
    "rows.h",
    "rows.metal",
    "softmax.h",
    "step.h",
    "step.metal",
    "stepwise.h",
    "target.h",
    "weights.h",
];

/// What kernels' names begin with, which is what their file is called.
const FAMILIES: [&str; 7] = ["rnn", "gru", "lstm", "step", "rows", "loss", "adam"];

/// The text of a file of `kernels/gpu/`.
pub(in crate::recurrence) fn file(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(found, _)| *found == name).map(|(_, text)| *text)
}

/// What a kernel's name begins with.
pub(in crate::recurrence) fn family(kernel: &str) -> Option<&'static str> {
    FAMILIES.into_iter().find(|family| kernel.starts_with(family))
}

/// The whole source of the file that a kernel is in.
pub(super) fn of_kernel(kernel: &str) -> Option<String> {
    let mut text = String::new();
    paste(&format!("{}.metal", family(kernel)?), &mut Vec::new(), &mut text)?;
    Some(text)
}

/// Pastes a file and those it includes, each that says so once.
fn paste(name: &str, pasted: &mut Vec<String>, text: &mut String) -> Option<()> {
    let source = file(name)?;
    if source.contains("#pragma once") {
        if pasted.iter().any(|found| found == name) {
            return Some(());
        }
        pasted.push(name.into());
    }
    for line in source.lines() {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(included) => paste(included, pasted, text)?,
            None if line == "#pragma once" => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metal_source_is_one_text_with_each_file_once() {
        for family in FAMILIES {
            let text = of_kernel(&format!("{family}_forward_f32")).unwrap();
            assert!(!text.contains("#include \"") && !text.contains("#pragma once"), "{family}");
            assert_eq!(text.matches("struct Threads {").count(), 1, "{family}");
            assert_eq!(text.matches("#include <metal_stdlib>").count(), 1, "{family}");
        }
        let rnn = of_kernel("rnn_backward_bf16").unwrap();
        assert_eq!(
            rnn.matches("KERNEL(rnn_backward)(").count(),
            2,
            "once for each dtype of the recurrent weights"
        );
        assert!(of_kernel("fft_f32").is_none());
    }
}
