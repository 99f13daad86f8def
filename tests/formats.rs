//! Files of sequences as people have them: real ones, and what is wrong with others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use candle_rnn::data::formats::{read, Content, Format, Layout, Loaded, ReadOptions};
use candle_rnn::data::{Dataset, SequenceValues, Target, TargetKind};

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
fn wide_tables_are_read() {
    let (tsv, format, notes) = real("GunPoint.tsv");
    assert_eq!((format, tsv.len(), tsv.seq_len(0)), (Format::Tsv, 4, 150));
    assert!(notes.iter().any(|note| note.contains("taken for a sequence")), "{notes:?}");
    let (arff, _, _) = real("GunPoint.arff");
    assert_eq!(floats(&tsv, 0), floats(&arff, 0));
    assert_eq!((tsv.label(0), tsv.class_names()), (Some(1), &["1".to_string(), "2".into()][..]));
    let (coffee, format, _) = real("Coffee.txt");
    assert_eq!((format, coffee.len(), coffee.seq_len(0)), (Format::Csv, 3, 286));
    assert_eq!(coffee.class_names(), ["0", "1"]);
    assert_eq!(floats(&coffee, 0)[0], -0.518_418_97);
}

#[test]
fn time_series_are_one_sequence() {
    let (airline, _, notes) = real("Airline.csv");
    assert_eq!((airline.len(), airline.seq_len(0)), (1, 144));
    assert_eq!(
        (airline.features(), floats(&airline, 0)[0]),
        (&["Passengers".to_string()][..], 112.)
    );
    assert!(notes.contains(&"column Date is taken for the time".to_string()), "{notes:?}");
    let (lynx, _, _) = real("Lynx.csv");
    assert_eq!((lynx.seq_len(0), floats(&lynx, 0)[0], lynx.features().len()), (19, 269., 1));
    let (us, _, _) = real("Uschange.csv");
    assert_eq!((us.seq_len(0), us.features().len(), us.target().kind()), (19, 5, TargetKind::None));
    let (ecg, _, _) = real("mitdb.csv");
    assert_eq!((ecg.len(), ecg.target().kind()), (1, TargetKind::StepClass));
    let labels: Vec<u32> = ecg.step_labels(0).unwrap().collect();
    assert_eq!(labels.iter().sum::<u32>(), 61);
    let normal = data("a.csv", "x,label\n1,0\n2,0\n");
    assert!(normal.step_labels(0).unwrap().eq([0, 0]));
    let (belts, _, _) = real("seatbelts.csv");
    assert_eq!(belts.features(), ["KSI"]);
}

#[test]
fn long_tables_have_a_class_for_each_sequence() {
    let text = "\u{feff}id;x;y;label\r\na;1;2;up\r\na;3;4;up\r\nb;5;?;down\r\n";
    for content in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let data = data("a.csv", content);
        assert_eq!((data.len(), data.lengths(), data.features().len()), (2, vec![2, 1], 2));
        assert_eq!(
            (data.id(1), data.class_names()),
            ("b".into(), &["down".into(), "up".into()][..])
        );
        assert_eq!((data.missing().count, &data.missing().first[..]), (1, "line 4, column y"));
    }
    let walk = data("a.csv", "id,x,y,z,class\na,1,2,3,u\nb,1,2,3,v\n");
    assert_eq!(walk.features(), ["x", "y", "z"]);
    let quoted = data("a.csv", "id,\"a, \"\"b\"\"\",label\n\"x\ny\",1,p\n\"x\ny\",2,q\nz,3,q\n");
    assert_eq!((quoted.features(), quoted.id(0)), (&["a, \"b\"".to_string()][..], "x\ny".into()));
    assert!(quoted.step_labels(0).unwrap().eq([0, 1]));
}

#[test]
fn numbered_features_beside_an_id_are_no_steps() {
    let names: Vec<String> = (1..=20).map(|number| format!("x{number}")).collect();
    let row = vec!["0.5"; 20].join(",");
    let loaded =
        data("a.csv", format!("id,{},y\na,{row},1\na,{row},1\nb,{row},2\n", names.join(",")));
    assert_eq!((loaded.lengths(), loaded.features().len()), (vec![2, 1], 20));
    let loaded = data("a.csv", format!("{},y\n{row},1\n{row},1\n{row},2\n", names.join(",")));
    assert_eq!((loaded.lengths(), loaded.features().len()), (vec![20, 20, 20], 1));
}

#[test]
fn numbers_are_targets_when_they_cannot_be_classes() {
    let loaded = data("a.csv", "id,x,target\na,1,0.5\na,2,0.5\nb,3,1.25\n");
    assert_eq!(
        (loaded.target().kind(), loaded.numbers(1)),
        (TargetKind::Numbers, Some(&[1.25][..]))
    );
    let options = ReadOptions { labels: vec!["u".into(), "3".into()], ..Default::default() };
    let several = outcome("a.csv", b"id,u,v,x\na,1,5,0\na,1,5,0\nb,2,6,0\n", &options).unwrap();
    let several = sequences(several);
    let Target::Numbers(numbers) = several.target() else { panic!() };
    assert_eq!(
        (&numbers.names[..], &numbers.values[..]),
        (&["u".to_string(), "v".into()][..], &[1., 5., 2., 6.][..])
    );
    let options = ReadOptions { target: Some(TargetKind::Class), ..Default::default() };
    let classes = outcome("a.csv", b"id,x,y\na,1,0.5\nb,3,1.25\n", &options).unwrap();
    assert_eq!(sequences(classes).class_names(), ["0.5", "1.25"]);
}

#[test]
fn ragged_wide_rows_end_where_values_do() {
    let options = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let loaded = outcome("a.csv", b"a,1,2,4\nb,4,,NaN\nb,5,?,6\n", &options).unwrap();
    let loaded = sequences(loaded);
    assert_eq!((loaded.lengths(), loaded.class_names().len()), (vec![3, 1, 3], 2));
    assert_eq!((loaded.missing().count, &loaded.missing().first[..]), (1, "line 3, column 3"));
    let numbered = data("a.csv", "label,0,1,2,3\nup,1,2,3,5\ndown,4,3,2,0\n");
    assert_eq!(
        (numbered.len(), numbered.seq_len(0), numbered.class_names()[0].as_str()),
        (2, 4, "down")
    );
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

/// A `.npy` file.
fn npy(descr: &str, fortran: bool, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat()
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn bytes_of<const N: usize, T: Copy>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to(*value)).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    bytes_of(values, f32::to_le_bytes)
}

fn i64s(values: &[i64]) -> Vec<u8> {
    bytes_of(values, i64::to_le_bytes)
}

#[test]
fn npz_archives_are_read() {
    let x: Vec<f32> = (0..12).map(|value| value as f32).collect();
    let lengths = npy("<i8", false, "(2,)", &i64s(&[3, 2]));
    let padded = npz(&[
        ("x", npy("<f4", false, "(2, 3, 2)", &f32s(&x))),
        ("y", npy("<U1", false, "(2,)", b"b\0\0\0a\0\0\0")),
        ("lengths", lengths.clone()),
        ("groups", npy("<i8", false, "(2,)", &i64s(&[7, 8]))),
    ]);
    let loaded = data("a.npz", padded);
    assert_eq!(
        (loaded.lengths(), loaded.class_names().len(), loaded.group(1)),
        (vec![3, 2], 2, Some(1))
    );
    assert_eq!(floats(&loaded, 1), [6., 7., 8., 9.]);
    let fortran: Vec<f64> = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11].map(f64::from).to_vec();
    let fortran = bytes_of(&fortran, f64::to_be_bytes);
    let loaded = data("a.npz", npz(&[("x", npy(">f8", true, "(2, 3, 2)", &fortran))]));
    assert_eq!(floats(&loaded, 1), [6., 7., 8., 9., 10., 11.]);
    let flat = npz(&[
        ("x", npy("<f4", false, "(5, 2)", &f32s(&x[..10]))),
        ("lengths", lengths),
        ("y", npy("|i1", false, "(5,)", &[0, 1, 1, 0, 2])),
    ]);
    let loaded = data("a.npz", flat);
    assert!(loaded.step_labels(1).unwrap().eq([0, 2]));
    let images =
        data("a.npy", npy("|u1", false, "(2, 2, 3)", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]));
    assert_eq!(images.sequence(1), SequenceValues::U8(&[6, 7, 8, 9, 10, 255]));
    let numbers = npz(&[
        ("x", npy("<f4", false, "(2, 6)", &f32s(&x))),
        ("y", npy("<f4", false, "(2, 2)", &f32s(&[0.5, 1., 2., 3.]))),
    ]);
    assert_eq!(data("a.npz", numbers).numbers(1), Some(&[2., 3.][..]));
}

#[test]
fn npz_archives_that_are_wrong_are_refused() {
    let x = || ("x", npy("<f4", false, "(2, 3)", &f32s(&[0.; 6])));
    refused(
        "a.npz",
        npz(&[("x", npy("|O", false, "(2,)", b"\x80\x04"))]),
        "array x is an array of Python objects, which are pickled and never read: save numbers, and ragged sequences \
         as one array of all steps with their lengths",
    );
    refused(
        "a.npz",
        npz(&[x(), ("lengths", npy("<i8", false, "(2,)", &i64s(&[3, 4])))]),
        "lengths says that sequence 2 has 4 steps, but x has the shape [2, 3]",
    );
    refused(
        "a.npz",
        npz(&[x(), ("lengths", npy("<i8", false, "(3,)", &i64s(&[1, 1, 1])))]),
        "lengths has 3 numbers that add up to 3, but x has 2 rows: it takes one number for each of these \
         sequences, or numbers that add up to these steps",
    );
    refused(
        "a.npz",
        npz(&[x(), ("lengths", npy("<i8", false, "(2,)", &i64s(&[1, 0])))]),
        "sequence 2 of x has no steps",
    );
    refused(
        "a.npz",
        npz(&[x(), ("y", npy("<i8", false, "(3,)", &i64s(&[1, 0, 1])))]),
        "array y has the shape [3]: expected (2,), (2, K), or a label for each of the 6 steps",
    );
    refused(
        "a.npz",
        npz(&[("x", npy("<f4", false, "(2, 3, 4, 5)", &[0; 480]))]),
        "array x has the shape [2, 3, 4, 5]: expected (N, T, I), (N, T), or with lengths (steps, I)",
    );
    refused(
        "a.npy",
        npy("<f4", false, "(2, 3)", &[0; 20]),
        "array x is truncated: its shape [2, 3] takes 24 bytes, the file holds 20",
    );
    refused(
        "a.npz",
        npz(&[]),
        "is a zip archive without arrays: expected members such as x.npy and y.npy",
    );
    refused(
        "a.npz",
        npz(&[
            ("a", npy("<f4", false, "(1,)", &[0; 4])),
            ("b", npy("<f4", false, "(1,)", &[0; 4])),
        ]),
        "has no array x: there are a, b",
    );
    let mut flipped = npz(&[x()]);
    let at = flipped.windows(4).position(|window| window == [0; 4]).unwrap() + 100;
    flipped[at] ^= 1;
    assert!(outcome("a.npz", &flipped, &ReadOptions::default()).is_err());
    let infinite = npy("<f4", false, "(1, 2)", &f32s(&[0., f32::INFINITY]));
    let error = outcome("a.npy", &infinite, &ReadOptions::default()).unwrap_err();
    assert!(
        error.contains("array x holds inf") && error.contains("expected finite numbers"),
        "{error}"
    );
    let options = ReadOptions { memory: Some(1000), ..Default::default() };
    let large = npy("<f4", false, "(100, 10)", &[0; 4000]);
    let error = outcome("a.npy", &large, &options).unwrap_err();
    let need =
        "its data need about 5.6 kB of memory, and 1.0 kB are available: cut the file into parts";
    assert_eq!(error, format!("a.npy: {need}"));
}

fn safetensors(header: &str, bytes: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

#[test]
fn safetensors_files_are_read() {
    let header = r#"{"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"y":{"dtype":"I64","shape":[2],"data_offsets":[16,32]}}"#;
    let bytes = [f32s(&[1., 2., 3., 4.]), i64s(&[4, 3])].concat();
    for content in [safetensors(header, &bytes), gzip(&safetensors(header, &bytes))] {
        let loaded = data("a.safetensors", content);
        assert_eq!(
            (loaded.lengths(), loaded.class_names()),
            (vec![2, 2], &["3".into(), "4".into()][..])
        );
        assert_eq!((floats(&loaded, 1), loaded.label(0)), (&[3., 4.][..], Some(1)));
    }
    let wrong = r#"{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,16]}}"#;
    let error = "array x has the shape [2, 3], but bytes 0 to 16 of the file's 16";
    refused("a.safetensors", safetensors(wrong, &[0; 16]), error);
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

#[test]
fn tables_that_are_wrong_are_refused_with_their_place() {
    for (content, error) in [
        ("", "is empty"),
        ("\n\n \n", "holds nothing but blanks"),
        ("id,x,label\n", "holds a header and no rows"),
        ("id,x\na,1\na,1,2\n", "line 3: has 3 cells, expected 2 as in the first line"),
        ("id,x\na,1\n\na\n", "line 4: has 1 cell, expected 2 as in the first line"),
        ("id,x\na,1\na,two\n", "line 3, column x: expected a number, got \"two\""),
        ("id,x\na,1\na,inf\n", "line 3, column x: \"inf\" is not a finite number of 32 bits"),
        ("id;x\na;1\na;1,5\n", "line 3, column x: \"1,5\" has a decimal comma: write 1.5"),
        (
            "id,time,x\na,1,1\na,1,2\n",
            "line 3, column time: the time \"1\" is there twice: times must increase within a sequence",
        ),
        (
            "id,time,x\na,2,1\na,1,2\n",
            "line 3, column time: the time \"1\" follows \"2\": times must increase within a sequence",
        ),
        ("id,time,x\na,2,1\na,soon,2\n", "line 3, column time: expected a number or a date, got \"soon\""),
        (
            "id,x\na,1\nb,2\na,3\n",
            "line 4, column id: the sequence \"a\" comes back after another: the rows of a sequence must follow each \
             other",
        ),
        ("id,x\n,1\n,2\n", "line 2, column id: the id is missing"),
        ("id,x,group\na,1,p\na,2,q\n", "line 3, column group: the group changes from \"p\" to \"q\" within a sequence"),
        ("id,x,x\na,1,2\n", "line 1: two columns have the name \"x\""),
        (
            "id,x,label\na,1,u\nb,2,\n",
            "line 3, column label: the label is missing, one of 1: give all labels or none",
        ),
        (
            "id,x,y\na,1,0.5\na,2,0.7\n",
            "y has a number at each step, which cannot be a target: leave it among the features to forecast it",
        ),
        ("id,name\na,u\nb,v\nc,w\n", "has no column of numbers that could be a feature"),
    ] {
        refused("a.csv", content, error);
    }
    refused(
        "a.csv",
        b"id,x\na,1\nb\xe9,2\n",
        "line 3, column id: is not UTF-8 text: save the file as UTF-8",
    );
    refused("a.csv", b"\xff\xfei\0d\0", "is UTF-16 text: save it as UTF-8");
    let wide = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let error = outcome("a.csv", b"a,1,2\nb,,\n", &wide).unwrap_err();
    assert_eq!(error, "a.csv: line 2: the sequence has no steps: all its cells are empty");
    let options = ReadOptions { id: Some("name".into()), ..Default::default() };
    let error = outcome("a.csv", b"id,x\na,1\n", &options).unwrap_err();
    assert_eq!(error, "a.csv: has no column \"name\": there are id, x");
    let error = outcome("a.ts", b"@problemName a\n@data\n1\n", &options).unwrap_err();
    assert!(error.contains("for which the option id means nothing"), "{error}");
}

#[test]
fn a_million_columns_are_steps_or_are_refused() {
    let names: Vec<String> = (0..1_000_000).map(|column| format!("c{}", column * 2)).collect();
    let content = format!("{}\n{}\n", names.join(","), vec!["1"; 1_000_000].join(","));
    let error = outcome("a.csv", content.as_bytes(), &ReadOptions::default()).unwrap_err();
    assert!(error.contains("has 1000000 columns, more than the 65536 features"), "{error}");
    let wide = ReadOptions { layout: Some(Layout::Wide), ..Default::default() };
    let loaded = sequences(outcome("a.csv", content.as_bytes(), &wide).unwrap());
    assert_eq!(loaded.total_steps(), 1_000_000);
}

#[test]
fn lists_that_are_wrong_are_refused_with_their_place() {
    let ts = "@problemName a\n@classLabel true 1 2\n@data\n";
    for (lines, error) in [
        ("1,2:1\n1,b:2\n", "line 5: feature 1, step 2: expected a number, got \"b\""),
        ("1,2:3\n", "line 4: label: \"3\" is not among the declared classes"),
        ("1,2:3,4:1\n1,2:3:1\n", "line 5: feature 2 has 1 step, feature 1 has 2"),
        ("1,2:3,4:1\n1,2:1\n", "line 5: has 1 feature, the first sequence has 2"),
        (":1\n", "line 4: the sequence has no steps"),
        ("1,2\n", "line 4: expected a colon and a label at the end"),
        ("", "has no sequences after its line @data"),
        (
            "(0,1),(1,2):1\n",
            "line 4: values have time stamps, which are not read here: write the values alone, or a CSV file with a \
             column for the time",
        ),
    ] {
        refused("a.ts", format!("{ts}{lines}"), error);
    }
    let arff =
        "@relation a\n@attribute b numeric\n@attribute c numeric\n@attribute d {u,v}\n@data\n";
    for (lines, error) in [
        ("1,2,u\n1,x,v\n", "line 7: feature 1, step 2: expected a number, got \"x\""),
        ("1,2,w\n", "line 6: attribute \"d\": \"w\" is not among the declared classes"),
        ("1,2\n", "line 6: has 2 values, there are 3 attributes"),
        ("'1,2,u\n", "line 6: a quoted value does not end"),
        ("{3 2}\n", "line 6: attribute 3 of a sparse row: there are 0 to 2"),
        ("{0 1\n", "line 6: a sparse row ends with a closing brace"),
    ] {
        refused("a.arff", format!("{arff}{lines}"), error);
    }
    for (lines, error) in [
        ("{\"x\": [1, 2]\n", "line 1, column 12: EOF while parsing an object"),
        (
            "{\"x\": [1, [2]]}\n",
            "line 1, column 14: step 2 is a list of 1 numbers, step 1 is a number",
        ),
        ("{\"x\": []}\n", "line 1: the sequence has no steps: expected a list of them in x"),
        ("{\"x\": [1]}\n{\"x\": [[1, 2]]}\n", "line 2: has 2 features, the first sequence has 1"),
        (
            "{\"x\": [1], \"y\": 1}\n{\"x\": [1]}\n",
            "line 2: lacks the field y, which the objects before it have",
        ),
        (
            "{\"x\": [1, 2], \"y\": [\"a\", \"b\"]}\n{\"x\": [1], \"y\": [\"a\", \"b\"]}\n",
            "line 2: y has 2 labels, expected one for each of 1 step",
        ),
        ("{\"z\": [1]}\n", "line 1, column 10: expected a field x (or sequence) with the steps"),
    ] {
        refused("a.jsonl", lines, error);
    }
}

#[test]
fn gzip_bombs_and_files_beyond_memory_are_refused() {
    let memory = ReadOptions { memory: Some(1 << 20), ..Default::default() };
    let zeros = "0,1,2,3,4,5,6,7,8,9\n".repeat(200_000);
    let error = outcome("a.csv", &gzip(zeros.as_bytes()), &memory).unwrap_err();
    assert!(error.contains("1.0 MB"), "{error}");
    let error = outcome("a.csv", zeros.as_bytes(), &memory).unwrap_err();
    assert!(error.starts_with("a.csv: its data need about"), "{error}");
    // A text takes memory for its characters' numbers too.
    let text = "a text of some words\n".repeat(20_000);
    for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let error = outcome("a.txt", &bytes, &memory).unwrap_err();
        assert!(error.starts_with("a.txt: its data need about"), "{error}");
    }
    assert!(outcome("a.txt", &text.as_bytes()[..300_000], &memory).is_ok());
    let mut cut = gzip(zeros.as_bytes());
    cut.truncate(cut.len() / 2);
    let error = outcome("a.csv", &cut, &ReadOptions::default()).unwrap_err();
    assert!(error.contains("gzip"), "{error}");
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
