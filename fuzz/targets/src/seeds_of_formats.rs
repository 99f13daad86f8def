//! The seeds of files of sequences.

use std::collections::BTreeMap;

use crate::{gzip, CUT};

type Seeds = BTreeMap<String, Vec<u8>>;

/// The seeds of a target, from their names and texts.
fn of_texts(texts: &[(&str, &str)]) -> Seeds {
    let seed = |(name, text): &(&str, &str)| (name.to_string(), text.as_bytes().to_vec());
    texts.iter().map(seed).collect()
}

/// The seeds of every target.
pub(crate) fn all() -> [(&'static str, Seeds); 7] {
    [
        ("csv", of_csv()),
        ("ts", of_ts()),
        ("arff", of_arff()),
        ("jsonl", of_jsonl()),
        ("npz", of_npz()),
        ("safetensors", of_safetensors()),
        ("text", of_text()),
    ]
}

fn of_csv() -> Seeds {
    let long = "id,time,x,y,label\na,1,0.5,-2,up\na,2,1e-3,?,up\nb,1,3,4,down\n";
    let mut seeds = of_texts(&[
        ("right-long", long),
        ("right-byte-order-mark", "\u{feff}id;x;label\r\na;1;0\r\na;2;1\r\n"),
        ("right-wide", "1\t0.1\t0.2\t0.3\t0.4\t0.5\t0.6\t0.7\t0.8\t0.9\t1\t1.1\n2\t1\t2\t3\t4\t5\t6\t7\t8\t9\tNaN\tNaN\n"),
        ("right-wide-header", "label,0,1,2\nup,1,2,3\ndown,3,2,\n"),
        ("right-blanks", "  1.0  2.5  3\n  2.0  -1  0\n"),
        ("right-series", "Date,Passengers\n1949-01,112\n1949-02,118\n1949-03,132\n"),
        ("right-series-month", "Month,Scripts\n1991 Jul,1\n1991 Aug,1\n"),
        ("right-quotes", "id,\"a, \"\"b\"\"\",label\n\"x\ny\",1,p\n\"x\ny\",2,q\n"),
        ("right-groups", "id,subject,x,target\na,p,1,0.5\na,p,2,0.5\nb,q,3,1.5\n"),
        ("wrong-header-alone", "id,x\n"),
        ("wrong-widths", "id,x\na,1\na,1,2\n"),
        ("wrong-text", "id,x\na,1\na,two\n"),
        ("wrong-decimal-comma", "id;x\na;1\na;1,5\n"),
        ("wrong-time-twice", "id,time,x\na,1,1\na,1,2\n"),
        ("wrong-comes-back", "id,x\na,1\nb,2\na,3\n"),
        ("wrong-no-bytes", ""),
    ]);
    seeds.insert("right-gzipped".into(), gzip(long.as_bytes()));
    seeds.insert("wrong-not-utf-8".into(), b"id,x\na,1\nb\xe9,2\n".to_vec());
    seeds
}

fn of_ts() -> Seeds {
    let header =
        "#a\n@problemName a\n@timeStamps false\n@univariate false\n@classLabel true 1 2\n@data\n";
    let with = |lines: &str| format!("{header}{lines}");
    of_texts(&[
        ("right-classes", &with("1,2,3:4,5,6:1\n1,?:2,3:2\n")),
        (
            "right-numbers",
            "@problemname a\n@univariate true\n@targetlabel true\n@data\n1,2:0.5\n3,4:1.5\n",
        ),
        ("right-unlabelled", "@problemname a\n@classLabel false\n@dimensions 1\n@data\n1,2\n3\n"),
        ("wrong-class", &with("1,2:3,4:3\n")),
        ("wrong-ragged", &with("1,2:3:1\n")),
        ("wrong-times", &with("(0,1),(1,2):1\n")),
        ("wrong-no-data", header),
        ("wrong-header", "@problemName a\n@univariate maybe\n@data\n1:1\n"),
    ])
}

fn of_arff() -> Seeds {
    let header =
        "@relation a\n@attribute b numeric\n@attribute 'c d' real\n@attribute e {u,v}\n@data\n";
    let relational = "@relation a\n@attribute r relational\n@attribute b numeric\n@end r\n@attribute e {u,v}\n@data\n";
    let with = |header: &str, lines: &str| format!("{header}{lines}");
    of_texts(&[
        ("right-classes", &with(header, "% c\n1,2,u\n3,?,v\n")),
        ("right-relational", &with(relational, "'1,2\\n3,4',u\n\"5,6\\n7,8\",v\n")),
        (
            "right-numbers",
            "@relation a\n@attribute b numeric\n@attribute target numeric\n@data\n1,0.5\n2,1.5\n",
        ),
        ("wrong-class", &with(header, "1,2,w\n")),
        ("wrong-widths", &with(header, "1,u\n")),
        ("wrong-quote", &with(header, "'1,2,u\n")),
        ("right-sparse", &with(header, "{1 2}\n{0 1.5, 2 v}\n{}\n")),
        ("wrong-sparse", &with(header, "{9 2}\n")),
        ("wrong-type", "@relation a\n@attribute b strange\n@data\n1\n"),
    ])
}

fn of_jsonl() -> Seeds {
    of_texts(&[
        (
            "right-classes",
            "{\"x\": [[1, 2], [3, null]], \"y\": \"a\", \"id\": \"p\", \"group\": 1}\n",
        ),
        ("right-steps", "{\"x\": [1, 2], \"y\": [0, 1]}\n{\"sequence\": [1], \"label\": [1]}\n"),
        ("right-numbers", "{\"x\": [1e3], \"y\": [0.5, 1]}\n{\"x\": [1, 2, 3], \"y\": [1, 2]}\n"),
        ("right-more", "{\"x\": [1], \"z\": {\"a\": [[], {}]}}\n"),
        ("right-array", "[{\"x\": [1, 2], \"y\": \"a\"},\n {\"x\": [3], \"y\": \"b\"}]\n"),
        ("wrong-array", "[{\"x\": [1, 2]}, 3]\n"),
        ("wrong-no-steps", "{\"x\": []}\n"),
        ("wrong-cut", "{\"x\": [1, 2]\n"),
        ("wrong-steps", "{\"x\": [1, [2]]}\n"),
        ("wrong-field", "{\"x\": [1], \"y\": 1}\n{\"x\": [1]}\n"),
        ("wrong-nested", &format!("{{\"x\": {}}}\n", "[".repeat(500))),
    ])
}

/// A `.npy` file.
fn npy(descr: &str, fortran: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat()
}

fn of_npz() -> Seeds {
    let numbers: Vec<u8> = (0..12u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let x = npy("<f4", "False", "(2, 3, 2)", &numbers);
    let lengths = npy("|u1", "False", "(2,)", &[3, 2]);
    let seed = |parts: &[&[u8]]| parts.join(CUT);
    let mut seeds = Seeds::new();
    let mut add = |name: &str, parts: &[&[u8]]| {
        seeds.insert(name.into(), seed(parts));
    };
    add("right-x", &[&x]);
    add("right-lengths", &[&x, &npy("<U1", "False", "(2,)", b"b\0\0\0a\0\0\0"), &lengths]);
    let flat = npy("<f4", "True", "(5, 2)", &numbers[..40]);
    add("right-flat", &[&flat, &npy("|i1", "False", "(5,)", &[0, 1, 1, 0, 2]), &lengths]);
    add("right-bytes", &[&npy("|u1", "False", "(2, 3)", &[1, 2, 3, 4, 5, 6])]);
    add("right-numbers", &[&x, &npy("<f4", "False", "(2, 1)", &numbers[..8])]);
    add("right-big-endian", &[&npy(">i2", "False", "(2, 2)", &numbers[..8])]);
    add("wrong-object", &[&npy("|O", "False", "(2,)", b"\x80\x04")]);
    add("wrong-shape", &[&npy("<f4", "False", "(1000000000, 1000000000)", &numbers)]);
    add("wrong-empty-shape", &[&npy("<f4", "False", "(1000000000000, 0)", &[])]);
    add("wrong-lengths", &[&x, &[], &npy("|u1", "False", "(2,)", &[3, 4])]);
    add("wrong-no-bytes", &[]);
    seeds
}

fn of_safetensors() -> Seeds {
    let numbers: Vec<u8> = (0..6u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let mut seeds = Seeds::new();
    let mut add = |name: &str, header: &str, bytes: &[u8]| {
        seeds.insert(name.into(), [header.as_bytes(), b"\n", bytes].concat());
    };
    add("right-x", r#"{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, &numbers);
    add(
        "right-labels",
        r#"{"x":{"dtype":"F16","shape":[4,2],"data_offsets":[0,16]},"y":{"dtype":"U8","shape":[2],"data_offsets":[16,18]},"lengths":{"dtype":"U8","shape":[2],"data_offsets":[18,20]}}"#,
        &[&[0; 18][..], &[1, 3]].concat(),
    );
    add("wrong-offsets", r#"{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[8,24]}}"#, &numbers);
    add(
        "wrong-shape",
        r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24]}}"#,
        &numbers,
    );
    add("wrong-dtype", r#"{"x":{"dtype":"Q4","shape":[2,3],"data_offsets":[0,24]}}"#, &numbers);
    seeds
}

fn of_text() -> Seeds {
    let mut seeds = of_texts(&[
        ("right-text", "To be, or not to be:\nthat is the question.\n"),
        ("right-table", "1,2\n3,4\n"),
        ("right-ts", "@problemName a\n@classLabel true 1\n@data\n1,2:1\n"),
        ("right-jsonl", "{\"x\": [1]}\n"),
        ("wrong-blanks", " \n\n"),
        ("wrong-tsf", "@relation a\n@frequency yearly\n@data\n"),
    ]);
    seeds.insert("wrong-pickle".into(), b"\x80\x04\x95".to_vec());
    seeds.insert("wrong-binary".into(), b"a\0b".to_vec());
    seeds.insert("wrong-not-utf-8".into(), b"To be \xe9".to_vec());
    seeds
}
