//! npz, npy and safetensors.

use std::io::Write;

use candle_rnn::data::formats::ReadOptions;
use candle_rnn::data::SequenceValues;

use super::{data, floats, gzip, outcome, refused};

/// A `.npy` file.
pub(super) fn npy(descr: &str, fortran: bool, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat()
}

pub(super) fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
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

pub(super) fn f32s(values: &[f32]) -> Vec<u8> {
    bytes_of(values, f32::to_le_bytes)
}

pub(super) fn i64s(values: &[i64]) -> Vec<u8> {
    bytes_of(values, i64::to_le_bytes)
}

#[test]
pub(super) fn npz_archives_are_read() {
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
pub(super) fn npz_archives_that_are_wrong_are_refused() {
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
    let error = "array x ends behind the file, which is truncated: bytes 0 to 24 of its 20";
    refused("a.safetensors", safetensors(&wrong.replace("16", "24"), &[0; 20]), error);
    // A list of the fields is no object.
    let list = safetensors(r#"{"x":["F32",[1,1],[0,4]]}"#, &[0; 4]);
    let found = outcome("a.safetensors", &list, &ReadOptions::default()).map(|loaded| loaded.notes);
    let error = found.unwrap_err();
    assert!(error.contains("damaged safetensors file: invalid type: sequence"), "{error}");
}
