//! Files of sequences as people have them: real ones, and what is wrong with others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use candle_rnn::data::formats::{read, Content, Format, Loaded, ReadOptions};
use candle_rnn::data::{Dataset, SequenceValues, TargetKind};

mod arrays;
mod limits;
mod refused;
mod tables;

fn excerpt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats").join(name)
}

fn sequences(loaded: Loaded) -> Dataset {
    match loaded.content {
        Content::Sequences(data) => data,
        Content::Text(text) => panic!("a text: {text}"),
    }
}

fn real(name: &str) -> (Dataset, Format, Vec<String>) {
    let loaded = read(excerpt(name), &ReadOptions::default()).unwrap();
    let (format, notes) = (loaded.format, loaded.notes.clone());
    (sequences(loaded), format, notes)
}

fn floats(data: &Dataset, index: usize) -> &[f32] {
    match data.sequence(index) {
        SequenceValues::F32(values) => values,
        SequenceValues::U8(_) => panic!("bytes"),
    }
}

/// What reading a file of this name and content says.
fn outcome(name: &str, content: &[u8], options: &ReadOptions) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path, options).map_err(|error| {
        let error = error.to_string();
        assert!(!error.contains('\n'), "{error}");
        error.replace(&format!("{}/", folder.path().display()), "")
    })
}

fn data(name: &str, content: impl AsRef<[u8]>) -> Dataset {
    sequences(outcome(name, content.as_ref(), &ReadOptions::default()).unwrap())
}

#[track_caller]
fn refused(name: &str, content: impl AsRef<[u8]>, error: &str) {
    let found = outcome(name, content.as_ref(), &ReadOptions::default()).map(|loaded| loaded.notes);
    assert_eq!(found, Err(format!("{name}: {error}")));
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn ts_files_are_read() {
    let (data, format, _) = real("JapaneseVowels.ts");
    assert_eq!((format, data.len(), data.features().len()), (Format::Ts, 3, 12));
    assert_eq!(data.lengths(), [20, 26, 22]);
    assert_eq!((data.class_names().len(), data.label(0)), (9, Some(0)));
    assert_eq!(floats(&data, 0)[0], 1.860936);
    let (data, _, _) = real("Covid3Month.ts");
    assert_eq!((data.len(), data.target().kind()), (6, TargetKind::Numbers));
    assert_eq!((data.seq_len(0), data.numbers(0).unwrap().len()), (84, 1));
    let (data, _, _) = real("PLAID.ts");
    assert_eq!((data.len(), data.class_names().len()), (2, 11));
    let lengths = "@problemName a\n@seriesLength 2\n@classLabel false\n@data\n1,2\n1,2,3\n";
    let notes = outcome("a.ts", lengths.as_bytes(), &ReadOptions::default()).unwrap().notes;
    assert_eq!(notes, ["@seriesLength says 2 steps, 1 of the sequences has more or fewer"]);
}

#[test]
fn arff_files_are_read() {
    let (motions, format, _) = real("BasicMotions.arff");
    assert_eq!((format, motions.len(), motions.features().len()), (Format::Arff, 2, 6));
    assert_eq!((motions.lengths(), motions.class_names().len()), (vec![100, 100], 4));
    assert_eq!(floats(&motions, 0)[..2], [0.079106, 0.394032]);
    assert_eq!(motions.class_names()[motions.label(0).unwrap() as usize], "Standing");
    let (gun, _, _) = real("GunPoint.arff");
    assert_eq!((gun.len(), gun.lengths()[0], gun.class_names().len()), (3, 150, 2));
}

#[test]
fn json_lines_are_read() {
    let lines = "{\"x\": [[1, 2], [3, null]], \"y\": \"a\", \"id\": \"p\", \"group\": 1}\n\n\
                 {\"sequence\": [[5, 6]], \"label\": \"b\", \"id\": \"q\", \"group\": 2, \"more\": {\"z\": []}}\n";
    let loaded = data("a.jsonl", lines);
    assert_eq!(
        (loaded.lengths(), loaded.features().len(), loaded.id(1)),
        (vec![2, 1], 2, "q".into())
    );
    assert_eq!((loaded.class_names(), loaded.group(1)), (&["a".into(), "b".into()][..], Some(1)));
    assert_eq!(loaded.missing().first, "line 1, feature 2, step 2");
    let steps = data("a.jsonl", "{\"x\": [1, 2], \"y\": [0, 1]}\n{\"x\": [1], \"y\": [1]}\n");
    assert!(steps.step_labels(0).unwrap().eq([0, 1]));
    let numbers =
        data("a.jsonl", "{\"x\": [1, 2, 3], \"y\": [0.5, 1]}\n{\"x\": [1], \"y\": [1, 2]}\n");
    assert_eq!(numbers.numbers(0), Some(&[0.5, 1.][..]));
}

#[test]
fn idx_files_are_read_with_their_labels() {
    use candle_rnn::data::idx::{images_header, labels_header};
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("few-images-idx3-ubyte.gz");
    let content = [images_header(2, 2, 3), (0..12).collect()].concat();
    std::fs::write(&images, gzip(&content)).unwrap();
    let alone = sequences(read(&images, &ReadOptions::default()).unwrap());
    assert_eq!((alone.target().kind(), alone.lengths()), (TargetKind::None, vec![2, 2]));
    let labels = folder.path().join("few-labels-idx1-ubyte");
    std::fs::write(&labels, [labels_header(2), vec![200, 3]].concat()).unwrap();
    let both = sequences(read(&images, &ReadOptions::default()).unwrap());
    assert_eq!((both.class_names(), both.label(0)), (&["3".into(), "200".into()][..], Some(1)));
    assert_eq!(both.sequence(1), SequenceValues::U8(&[6, 7, 8, 9, 10, 11]));
    let error = read(&labels, &ReadOptions::default()).unwrap_err().to_string();
    assert!(
        error.ends_with("holds labels: give the file of images, and keep the labels beside it"),
        "{error}"
    );
}

#[test]
fn texts_are_read() {
    let text = "To be, or not to be:\r\nthat is the question. \u{e9}\n";
    for content in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let loaded = outcome("a.txt", &content, &ReadOptions::default()).unwrap();
        let Content::Text(found) = loaded.content else { panic!() };
        assert_eq!((found.as_str(), loaded.format), (text, Format::Text));
    }
    refused(
        "a.txt",
        b"To be, or not to be:\nthat is \xe9",
        "line 2, byte 9: is not UTF-8 text: save the file as UTF-8",
    );
}

/// `cargo test --release --test formats -- --ignored speed --nocapture`
#[test]
#[ignore = "measures"]
fn reading_speed_of_tables() {
    let mut text = String::from("id,a,b,c,d,label\n");
    let mut state = 1u32;
    for row in 0..2_000_000u32 {
        text.push_str(&format!("{},", row / 20));
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(&format!("{:.5},", f64::from(state) / f64::from(u32::MAX) - 0.5));
        }
        text.push_str(if row / 20 % 2 == 0 { "up\n" } else { "down\n" });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, &text).unwrap();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        let loaded = sequences(read(&path, &ReadOptions::default()).unwrap());
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(loaded.len(), 100_000);
        println!("{:.0} MB/s of file", text.len() as f64 / 1e6 / seconds);
    }
}
