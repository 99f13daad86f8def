//! The house's rules, read off the sources: rooms know rooms below them, nothing has two names, the library does not
//! speak to a terminal.

#![allow(clippy::unwrap_used)]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use source::{Crate, Module, Names};

/// The rooms of the library, lowest first: each may know those before it.
const ROOMS: [&str; 19] = [
    "error",
    "wording",
    "files",
    "rng",
    "data",
    "recurrence",
    "nn",
    "model",
    "optim",
    "distributed",
    "train",
    "settings",
    "run",
    "sweep",
    "report",
    "predict",
    "page",
    "export",
    "serve",
];
/// What stands for itself against which everything else is tested, and is called by tests alone.
const TEST_ONLY: [&str; 2] = ["reference", "tests"];
/// The model card, a text for people, says how the program trains the run again.
const FLAG_OF_THE_CARD: &str = "\" --data FOLDER\"";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn library() -> Crate {
    Crate::read(&root().join("src/lib.rs"))
}

/// The program, and the kernels where they lie beside it: they do not in the published package.
fn others() -> Vec<Crate> {
    let roots = ["src/main.rs", "kernels/cpu/src/lib.rs"].map(|path| root().join(path));
    roots.iter().filter(|path| path.exists()).map(|path| Crate::read(path)).collect()
}

fn name(module: &Module) -> String {
    module.file.strip_prefix(root()).unwrap_or(&module.file).display().to_string()
}

/// Which modules each knows.
fn edges(modules: &Crate) -> BTreeMap<&Names, BTreeSet<&Names>> {
    let known = |(path, module): (_, &_)| (path, known(modules, path, module));
    modules.0.iter().map(known).collect()
}

fn known<'a>(modules: &'a Crate, path: &Names, module: &Module) -> BTreeSet<&'a Names> {
    let found = module.names.iter().filter_map(|names| modules.definer(names));
    found.filter(|found| *found != path).collect()
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn a_room_knows_rooms_below_it_alone() {
    let modules = library();
    let place = |path: &Names| {
        let room = path.first()?;
        let place = ROOMS.iter().position(|known| known == room);
        Some(place.unwrap_or_else(|| panic!("{room} has no place among the rooms yet")))
    };
    let mut found = Vec::new();
    for (path, known) in edges(&modules) {
        for other in known {
            // What the root has, `Error` and `Result`, it has from the lowest room.
            if place(path) < place(other) && !path.is_empty() {
                found.push(format!("{} knows {}", name(&modules.0[path]), name(&modules.0[other])));
            }
        }
    }
    none(found, "rooms know rooms that come after them in this test's list");
}

#[test]
fn files_do_not_know_each_other_in_circles() {
    let mut found = BTreeSet::new();
    for modules in [library()].into_iter().chain(others()) {
        let edges = edges(&modules);
        for path in modules.0.keys().filter(|path| !path.is_empty()) {
            // The shortest way from a file to itself.
            let mut ways: Vec<Vec<&Names>> = vec![vec![path]];
            let mut seen = BTreeSet::new();
            while let Some(way) = ways.pop() {
                for next in &edges[way[way.len() - 1]] {
                    if *next == path {
                        let mut circle: Vec<String> =
                            way.iter().map(|path| name(&modules.0[*path])).collect();
                        let first =
                            circle.iter().enumerate().min_by_key(|(_, name)| (*name).clone());
                        let first = first.map_or(0, |(at, _)| at);
                        circle.rotate_left(first);
                        found.insert(circle.join(" -> "));
                    } else if seen.insert(*next) {
                        ways.insert(0, [way.clone(), vec![*next]].concat());
                    }
                }
            }
        }
    }
    none(found.into_iter().collect(), "files know each other in a circle");
}

#[test]
fn production_code_calls_no_test_code() {
    let modules = library();
    let mut found = Vec::new();
    for module in modules.0.values() {
        let is_test = |names: &&Names| names.iter().any(|name| TEST_ONLY.contains(&name.as_str()));
        found.extend(
            module
                .names
                .iter()
                .filter(is_test)
                .map(|names| format!("{} names {}", name(module), names.join("::"))),
        );
    }
    none(found, "production code names test code");
}

#[test]
fn the_library_names_no_flag_prints_nothing_and_runs_nothing() {
    let modules = library();
    let mut found = Vec::new();
    for module in modules.0.values() {
        for text in &module.texts {
            let is_flag = text.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| {
                word.strip_prefix("--")
                    .is_some_and(|flag| flag.starts_with(|c: char| c.is_ascii_lowercase()))
            });
            let is_client = ["\"npm\"", "\"apt\"", "\"apt-get\""].contains(&text.as_str());
            if (is_flag && text != FLAG_OF_THE_CARD) || is_client {
                found.push(format!("{}: {text}", name(module)));
            }
        }
        let prints = ["print", "println", "eprint", "eprintln", "dbg"];
        found.extend(
            prints
                .iter()
                .filter(|name| module.macros.contains(**name))
                .map(|print| format!("{} calls {print}!", name(module))),
        );
        let text = std::fs::read_to_string(&module.file).unwrap();
        if text.contains("clap::") {
            found.push(format!("{} knows the command line's parser", name(module)));
        }
        if text.contains("process::Command") {
            found.push(format!("{} runs another program", name(module)));
        }
    }
    none(found, "the library speaks to a terminal");
}

#[test]
fn a_type_name_is_defined_once() {
    for modules in [library()].into_iter().chain(others()) {
        let mut files: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for module in modules.0.values() {
            for found in &module.types {
                files.entry(found).or_default().push(name(module));
            }
        }
        files.retain(|_, files| files.len() > 1);
        let found = files.iter().map(|(found, files)| format!("{found}: {}", files.join(", ")));
        none(found.collect(), "types of one name");
    }
}

#[test]
fn nothing_matches_on_a_bool() {
    let all = [library()].into_iter().chain(others());
    let found = all.flat_map(|modules| {
        let of = |module: &Module| {
            (module.bool_matches > 0).then(|| format!("{}: {}", name(module), module.bool_matches))
        };
        modules.0.values().filter_map(of).collect::<Vec<_>>()
    });
    none(found.collect(), "a bool is matched on where `if` would do");
}

#[test]
fn names_of_tests_have_at_most_60_characters() {
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "examples", "kernels", "fuzz"]
        .map(|name| root().join(name))
        .to_vec();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let tests =
                    text.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1));
                let names = tests.filter_map(|rest| rest.split('(').next());
                found.extend(names.filter(|name| name.len() > 60).map(|name| {
                    format!("{}: {name}", path.strip_prefix(root()).unwrap_or(&path).display())
                }));
            }
        }
    }
    none(found, "names of tests are longer");
}
