//! The number of threads, which is no setting of the model: it changes no bit.

use crate::Place;

/// Trains with these numbers of threads, from 1, and compares the weights.
#[track_caller]
fn same_bits(args: &str, counts: &[&str]) {
    let place = Place::new();
    for threads in counts {
        place.train(threads, &format!("{args} --threads {threads}"));
        let model = place.read(&format!("{threads}/model.safetensors"));
        let same = model == place.read("1/model.safetensors");
        assert!(same, "{args}: other bits with {threads} threads");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_small_model() {
    same_bits("", &["1", "2", "3", "5"]);
}

// Large enough that a batch's rows, and with 150 units the weights' gradients, are shared out.
#[test]
fn the_number_of_threads_changes_no_bit_of_a_large_model() {
    same_bits("--hidden 150 --batch-size 150 --epochs 1", &["1", "2", "3", "5"]);
}

#[test]
fn the_number_of_threads_changes_no_bit_where_everything_is_on() {
    same_bits(
        "--cell lstm --hidden 64 --layers 2 --bidirectional --dropout 0.2 --readout mean-max \
         --shift 1 --rotate 9 --zoom 0.1 --ema 0.99 --clip-norm 1 --weight-decay 0.01 \
         --label-smoothing 0.1 --schedule one-cycle --accumulate 2 --batch-size 80 --epochs 1",
        &["1", "3"],
    );
}

#[cfg(not(feature = "mpi"))]
#[test]
fn several_processes_are_refused_by_a_build_without_mpi() {
    let place = Place::new();
    for (rank, said) in [("0", "error: 2 processes were started"), ("1", "")] {
        let mut command = place.command();
        command.args(["train", "--data", "sample"]);
        command.env("OMPI_COMM_WORLD_SIZE", "2").env("OMPI_COMM_WORLD_RANK", rank);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(said) && stderr.lines().count() <= 1, "{stderr}");
        assert_eq!(stderr.is_empty(), said.is_empty(), "{stderr}");
    }
}
