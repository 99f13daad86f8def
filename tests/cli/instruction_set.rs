//! What computes, kept in the checkpoints and told where it changes.

use crate::{Outcome, Place, STOPPED};

impl Place {
    #[track_caller]
    fn train_with(&self, isa: &str, args: &str) -> Outcome {
        let mut command = self.command();
        command.env("CANDLE_RNN_ISA", isa).arg("train");
        command.args(crate::small(args).split_whitespace());
        Outcome::from(command.output().unwrap()).succeeded()
    }

    /// What the run's checkpoint of a step says of the instruction set.
    fn instruction_set(&self, step: u32) -> String {
        let path = format!("run/checkpoints/step-{step:08}/trainer_state.json");
        let state: serde_json::Value = serde_json::from_str(&self.text(&path)).unwrap();
        state["instruction_set"].as_str().unwrap().to_string()
    }
}

/// One that is not the portable one, if this CPU has it.
fn other() -> Option<&'static str> {
    if cfg!(target_arch = "aarch64") {
        return Some("neon");
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return Some("avx2");
    }
    None
}

#[test]
fn a_run_resumed_with_another_instruction_set_says_so() {
    let Some(other) = other() else { return };
    let place = Place::new();
    let args = format!("{STOPPED} --out run");
    place.train_with("portable", &args);
    assert_eq!(place.instruction_set(40), "portable");
    place.forget_after("run", 30);
    let outcome = place.train_with(other, &format!("{args} --resume"));
    let note = |before: &str| {
        format!(
            "note: this run was started with {before}, this machine computes with {other}: the last \
             bits may differ from an uninterrupted run\n"
        )
    };
    assert!(outcome.stderr.contains(&note("portable")), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("resuming after step 30"), "{}", outcome.stdout);
    let both = format!("portable, {other}");
    assert_eq!(place.instruction_set(40), both);
    // It is still another run than one of this instruction set alone, however often it is resumed.
    place.forget_after("run", 30);
    place.change_state("run/checkpoints/step-00000030", |state| {
        state["instruction_set"] = both.as_str().into();
    });
    let outcome = place.train_with(other, &format!("{args} --resume"));
    assert!(outcome.stderr.contains(&note(&both)), "{}", outcome.stderr);
    assert_eq!(place.instruction_set(40), both);
}

#[test]
fn a_run_resumed_with_its_own_instruction_set_says_nothing() {
    let place = Place::new();
    let args = format!("{STOPPED} --out run");
    place.train_with("portable", &args);
    place.forget_after("run", 30);
    let outcome = place.train_with("portable", &format!("{args} --resume"));
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    assert_eq!(place.instruction_set(40), "portable");
}
