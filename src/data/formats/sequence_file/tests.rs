//! Blocks hold what the whole file holds.

use std::io::Write;

use super::*;
use crate::data::formats::{read, Layout};
use crate::data::{SequenceValues, Target, TargetKind};

const SMALL: BlockSize =
    BlockSize { whole_bytes: 64, whole_sequences: 3, block_bytes: 40, block_sequences: 2 };

/// What there is to be known of a sequence.
fn told(data: &Dataset, index: usize) -> String {
    let SequenceValues::F32(values) = data.sequence(index) else { panic!("bytes") };
    let name = |label: u32| data.class_names()[label as usize].clone();
    let label = data.label(index).map(name);
    let steps: Option<Vec<String>> =
        data.step_labels(index).map(|labels| labels.map(name).collect());
    let (id, numbers, time) = (data.id(index), data.numbers(index), data.last_time(index));
    format!("{id} {values:?} {label:?} {steps:?} {numbers:?} {time:?}")
}

fn all(data: &Dataset) -> Vec<String> {
    (0..data.len()).map(|index| told(data, index)).collect()
}

/// A file, and the same gzipped.
fn files(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, [PathBuf; 2]) {
    let content = content.as_ref();
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join(name), folder.path().join(format!("{name}.gz"))];
    std::fs::write(&paths[0], content).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).unwrap();
    std::fs::write(&paths[1], packed.finish().unwrap()).unwrap();
    (folder, paths)
}

fn alike(name: &str, content: impl AsRef<[u8]>, kind: TargetKind, options: &ReadOptions) {
    let (_folder, paths) = files(name, content);
    let whole = read(&paths[0], options).unwrap().sequences().unwrap();
    assert_eq!(whole.target().kind(), kind, "{name}");
    for path in &paths {
        let mut seen = 0;
        let mut see = |block: &Dataset| seen += block.len();
        let file = SequenceFile::scan_in_blocks(path, options, SMALL, &mut see).unwrap();
        let found = file.outline().unwrap();
        let of_whole = (whole.features(), whole.len(), whole.lengths().into_iter().max());
        assert_eq!((&found.features[..], found.sequences, Some(found.longest)), of_whole, "{name}");
        assert_eq!((&found.missing, found.target.kind()), (whole.missing(), kind), "{name}");
        if let Some((labels, of_all)) = labels(&found.target).zip(labels(whole.target())) {
            assert_eq!(labels, of_all, "{name}");
        }
        assert_eq!((seen, file.has_times()), (whole.len(), whole.last_time(0).is_some()));
        let (mut blocks, mut sequences) = (0, Vec::new());
        let outcome = file.for_each_block(|block| {
            blocks += 1;
            assert!(block.len() <= 2);
            sequences.extend(all(block));
            Ok::<(), Error>(())
        });
        outcome.unwrap();
        assert_eq!(sequences, all(&whole), "{name}");
        assert!(blocks > 2);
        let stopped: std::result::Result<(), Error> =
            file.for_each_block(|_| Err(Error::Config("enough".into())));
        assert_eq!(stopped.unwrap_err().to_string(), Error::Config("enough".into()).to_string());
    }
}

/// The names of classes, and which of them there are.
fn labels(target: &Target) -> Option<(&[String], Vec<bool>)> {
    match target {
        Target::Class(labels) | Target::StepClass(labels) => {
            let counts = labels.counts().into_iter().map(|count| count > 0);
            Some((&labels.names, counts.collect()))
        }
        Target::None | Target::Numbers(_) => None,
    }
}

fn rows(header: &str, count: usize, row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..count).map(|n| format!("{}\n", row(n))).collect();
    format!("{header}\n{rows}")
}

#[test]
fn blocks_hold_what_the_whole_file_holds() {
    use TargetKind::{Class, None, Numbers, StepClass};
    let any = ReadOptions::default();
    let class = |n: usize| ["up", "2.5", "down"][n % 3];
    let zeros = rows("id,x,label", 12, |n| format!("{n},1,{}", ["0.5", "-0.0", "1.5e1"][n % 3]));
    alike("a.csv", &zeros, Numbers, &any);
    // A class that is found late in the file, and one that looks like a number.
    let long = rows("id,t,x,z,label", 30, |n| {
        let kind = if n / 3 == 9 { "late" } else { class(n / 3) };
        format!("s{},{n},{n}.5,{},{kind}", 99 - n / 3, n * n)
    });
    alike("a.csv", &long, Class, &any);
    alike(
        "a.csv",
        long.replace("down", "1.5").replace("up", "2").replace("late", "7"),
        Numbers,
        &any,
    );
    let steps = rows("id,x,label", 30, |n| {
        format!("{},{n},{}", n / 3, class(if n < 15 { n / 3 } else { n }))
    });
    alike("a.csv", &steps, StepClass, &any);
    let series = ReadOptions { is_series: true, ..any.clone() };
    let no_label = rows("id,t,x", 30, |n| format!("{},{n},{n}.5", n / 3));
    alike("a.csv", &no_label, None, &series);
    let iris = rows("a,b,label", 12, |n| format!("{n},{},{}", n % 5, class(n)));
    let bare = ReadOptions { layout: Some(Layout::Tabular), ..any.clone() };
    alike("a.tsv", iris.replace(',', "\t"), Class, &bare);
    alike("a.csv", rows("a,b", 12, |n| format!("{n},{}", n % 5)), None, &bare);
    let wide = |label: fn(usize) -> String| {
        rows("", 12, |n| {
            let steps: Vec<String> = (0..14 + n % 2).map(|t| (n + t).to_string()).collect();
            format!("{}{}{}", label(n), steps.join(","), if n % 2 == 0 { "," } else { "" })
        })
    };
    alike("a.csv", wide(|n| format!("c{},", n % 2)).trim_start(), Class, &any);
    let wide_options = ReadOptions { layout: Some(Layout::Wide), ..any.clone() };
    alike("a.csv", wide(|n| format!("0.{n},")).trim_start(), None, &wide_options);
    let numbers = ReadOptions { labels: vec!["1".into()], ..wide_options };
    alike("a.csv", wide(|n| format!("0.{n},")).trim_start(), Numbers, &numbers);
    let ts = rows("@problemName a\n@classLabel true a b c\n@data", 12, |n| {
        format!("{n},?,3:4,5,{n}:{}", ["a", "c"][n % 2])
    });
    alike("a.ts", &ts, Class, &any);
    let ts = rows("@problemName a\n@targetLabel true\n@data", 12, |n| format!("{n},2:{n}"));
    alike("a.ts", &ts, Numbers, &any);
    let arff = rows(
        "@relation a\n@attribute x numeric\n@attribute y numeric\n@attribute c {p,q,r}\n@data",
        12,
        |n| format!("{n},2,{}", ["p", "q"][n % 2]),
    );
    alike("a.arff", &arff, Class, &any);
    let object = |y: &dyn Fn(usize) -> String| {
        let of = |n: usize| {
            format!(
                "{{\"x\": [[{n}, 1], [null, 2]], \"id\": \"k{}\", \"group\": 1, \"y\": {}}}",
                90 - n,
                y(n)
            )
        };
        (0..12).map(of).collect::<Vec<_>>()
    };
    for (y, kind) in [
        (&(|n: usize| (n % 2).to_string()) as &dyn Fn(usize) -> String, Class),
        (&|n| format!("[\"{}\", \"a\"]", class(n)), StepClass),
        (&|n| format!("[{n}.5, 1, 3]"), Numbers),
        (&|n| format!("{n}.5"), Numbers),
        (&|_| "null".into(), None),
    ] {
        let objects = object(y);
        alike("a.jsonl", objects.join("\n"), kind, &any);
        alike("a.json", format!("[{}]", objects.join(",\n")), kind, &any);
    }
}

/// A safetensors file of tensors: the name of each, its type, shape and bytes.
fn tensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut entries, mut bytes) = (Vec::new(), Vec::new());
    for (name, dtype, shape, content) in tensors {
        let from = bytes.len();
        bytes.extend(content);
        entries.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{from},{}]}}",
            bytes.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
}

/// The same arrays as members of an npz archive.
fn archive(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, dtype, shape, content) in tensors {
        zip.start_file(format!("{name}.npy"), stored).unwrap();
        zip.write_all(&array(dtype, shape, content)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A npy file of version 1.
fn array(dtype: &str, shape: &[usize], content: &[u8]) -> Vec<u8> {
    let dtype = match dtype {
        "F32" => "<f4",
        "I64" => "<i8",
        _ => "|u1",
    };
    let shape: String = shape.iter().map(|size| format!("{size},")).collect();
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape})}}\n");
    let size = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &size[..], header.as_bytes(), content].concat()
}

/// Whether blocks of arrays hold what the arrays hold, in each format of arrays.
fn arrays_alike(arrays: &[(&str, &str, &[usize], Vec<u8>)], kind: TargetKind) {
    let any = ReadOptions::default();
    alike("a.safetensors", tensors(arrays), kind, &any);
    alike("a.npz", archive(arrays), kind, &any);
    if let [(_, dtype, shape, content)] = arrays {
        alike("a.npy", array(dtype, shape, content), kind, &any);
    }
}

fn floats(count: usize, of: impl Fn(usize) -> f32) -> Vec<u8> {
    (0..count).flat_map(|n| of(n).to_le_bytes()).collect()
}

fn whole_numbers(count: usize, of: impl Fn(usize) -> i64) -> Vec<u8> {
    (0..count).flat_map(|n| of(n).to_le_bytes()).collect()
}

#[test]
fn blocks_of_arrays_hold_what_the_arrays_hold() {
    use TargetKind::{Class, Numbers, StepClass};
    let x =
        ("x", "F32", &[12, 3, 2][..], floats(72, |n| if n == 51 { f32::NAN } else { n as f32 }));
    let lengths = ("lengths", "I64", &[12][..], whole_numbers(12, |n| 1 + n as i64 % 3));
    let ids = ("ids", "I64", &[12][..], whole_numbers(12, |n| 90 - n as i64));
    let y = |shape, count| ("y", "I64", shape, whole_numbers(count, |n| [4, 4, 7][n / 2 % 3]));
    let numbers = |shape, count| ("y", "F32", shape, floats(count, |n| n as f32 + 0.5));
    for (tensor, kind) in [
        (None, TargetKind::None),
        (Some(y(&[12][..], 12)), Class),
        (Some(y(&[12, 3][..], 36)), StepClass),
        (Some(numbers(&[12][..], 12)), Numbers),
        (Some(numbers(&[12, 2][..], 24)), Numbers),
    ] {
        let mut all = vec![x.clone()];
        all.extend(tensor);
        arrays_alike(&all, kind);
        all.extend([lengths.clone(), ids.clone()]);
        arrays_alike(&all, kind);
    }
    let flat = ("x", "F32", &[24, 3][..], floats(72, |n| n as f32));
    let groups = ("groups", "I64", &[12][..], whole_numbers(12, |n| n as i64 / 4));
    for (tensor, kind) in [(None, TargetKind::None), (Some(y(&[24][..], 24)), StepClass)] {
        let mut all = vec![flat.clone(), lengths.clone(), groups.clone()];
        all.extend(tensor);
        arrays_alike(&all, kind);
    }
}

#[test]
fn bytes_are_255ths_whatever_is_beside_them() {
    let x = ("x", "U8", &[2, 3][..], vec![0, 51, 255, 102, 1, 2]);
    let lengths = |last| ("lengths", "I64", &[2][..], whole_numbers(2, |n| [3, last][n]));
    let ids = ("ids", "I64", &[2][..], whole_numbers(2, |n| n as i64));
    for (all, expected) in [
        (vec![x.clone()], SequenceValues::U8(&[0, 51, 255])),
        (vec![x.clone(), lengths(3)], SequenceValues::U8(&[0, 51, 255])),
        (vec![x.clone(), lengths(2)], SequenceValues::F32(&[0., 0.2, 1.])),
        (vec![x, ids], SequenceValues::F32(&[0., 0.2, 1.])),
    ] {
        let (_folder, [path, _]) = files("bytes", tensors(&all));
        let file = SequenceFile::scan_in_blocks(&path, &ReadOptions::default(), SMALL, &mut |_| {});
        assert_eq!(file.unwrap().held().unwrap().sequence(0), expected);
    }
}

#[test]
fn a_scan_finds_what_is_wrong_wherever_it_is() {
    let long = |late: &str| {
        rows("id,t,x,label", 40, |n| format!("s{},{n},{n}.5,{}", 99 - n / 2, n / 2 % 2)) + late
    };
    for late in [
        "s99,40,1,1\n",
        "s12,3,oh,1\n",
        "s12,3,1\n",
        "s12,3,1,\n",
        "s12,3,1,1\ns12,2,1,1\n",
        "s12,3,\"1,1\n",
        "s12,3,1,\u{fffd}1,\n",
    ] {
        let (_folder, paths) = files("a.csv", long(late));
        for path in &paths {
            let options = ReadOptions::default();
            let whole = read(path, &options).unwrap_err().to_string();
            let scanned = SequenceFile::scan_in_blocks(path, &options, SMALL, &mut |_| {});
            assert_eq!(scanned.unwrap_err().to_string(), whole, "{late}");
        }
    }
}

#[test]
fn small_files_are_held() {
    let (_folder, [path, _]) = files("a.csv", "id,x\na,1\nb,2\n");
    let file = SequenceFile::scan(&path, &ReadOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((file.held().map(Dataset::len), file.outline().is_some()), (Some(2), false));
    let (_folder, [path, _]) = files("a.txt", "To be, or not to be");
    let error = SequenceFile::scan(&path, &ReadOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("plain text, where a file of sequences"), "{error}");
}

#[test]
fn arrays_in_blocks_leave_room_for_their_longest_sequence() {
    let x = ("x", "F32", &[1, 3000, 2][..], floats(6000, |n| n as f32));
    let (_folder, [path, _]) = files("long", tensors(&[x]));
    let scan = |memory| {
        let options = ReadOptions { memory: Some(memory), ..Default::default() };
        SequenceFile::scan_in_blocks(&path, &options, SMALL, &mut |_| {})
            .map(|file| file.sequences())
    };
    assert_eq!(scan(24_000).unwrap(), 1);
    let error = scan(23_999).unwrap_err().to_string();
    assert!(error.contains("its data need about 24.0 kB of memory"), "{error}");
}

#[test]
fn a_file_that_has_changed_is_not_half_read() {
    let x = |dtype, bytes| [("x", dtype, &[12, 3, 2][..], bytes)];
    let (_folder, [path, _]) = files("changed", tensors(&x("F32", floats(72, |n| n as f32))));
    let file =
        SequenceFile::scan_in_blocks(&path, &ReadOptions::default(), SMALL, &mut |_| {}).unwrap();
    std::fs::write(&path, tensors(&x("U8", vec![1; 72]))).unwrap();
    let error = file.for_each_block(|_| Ok::<(), Error>(())).unwrap_err().to_string();
    assert!(error.contains("has changed since it was read"), "{error}");
}
