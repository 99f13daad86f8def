#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| candle_rnn_fuzz::run(
    candle_rnn_fuzz::targets::ts,
    input
));
