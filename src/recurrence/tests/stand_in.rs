//! Devices for tests that stand in for a GPU: this thread's tensors, which are on the CPU, are on one of them.

use std::cell::RefCell;
use std::sync::Arc;

use crate::recurrence::gpu::launch::{Arg, KernelLaunch};
use crate::recurrence::gpu::queue::Launch;
use crate::recurrence::gpu::source;

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Launch>>> = const { RefCell::new(None) };
}

/// The device that this thread's tensors are on, if there is one.
pub(in crate::recurrence) fn current() -> Option<Arc<dyn Launch>> {
    CURRENT.with_borrow(Clone::clone)
}

pub(in crate::recurrence) fn is_on() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Runs `body` with this thread's CPU tensors on a device.
pub(super) fn on<R>(device: Arc<dyn Launch>, body: impl FnOnce() -> R) -> R {
    CURRENT.set(Some(device));
    let result = body();
    CURRENT.set(None);
    result
}

/// The arguments of a kernel as its source declares them: what kind each is, and its name.
pub(super) fn declared(kernel: &str) -> Vec<(&'static str, String)> {
    let (name, _word) = kernel.rsplit_once('_').unwrap();
    // Metal has no teams.
    let of_teams = ["team_", "mma_"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let heads = [format!("KERNEL({})(", of_teams.unwrap_or(name)), format!("{kernel}(")];
    let mut texts = vec![
        include_str!("../../../kernels/gpu/team_kernels.inc"),
        include_str!("../../../kernels/gpu/team.cu"),
    ];
    if let Some(family) = source::family(kernel) {
        let files = [format!("{family}_kernels.inc"), format!("{family}.h")];
        texts = files.iter().filter_map(|name| source::file(name)).collect();
    }
    let list = texts.into_iter().find_map(|text| {
        let begin = heads.iter().find_map(|head| Some(text.find(head.as_str())? + head.len()))?;
        text[begin..].split("\n) {").next()
    });
    let list = list.unwrap_or_else(|| panic!("no source has a kernel {kernel}"));
    let mut arguments = Vec::new();
    let list: Vec<String> = list.lines().map(|line| written_out(line.trim())).collect();
    for line in list.iter().flat_map(|line| line.lines()).map(str::trim) {
        for kind in ["IN", "OUT", "INT", "FLOAT"] {
            let inside = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix('('));
            let Some((inside, _)) = inside.and_then(|inside| inside.split_once(')')) else {
                continue;
            };
            let (index, name) =
                (inside.split(',').next().unwrap(), inside.rsplit(", ").next().unwrap());
            assert_eq!(index.parse(), Ok(arguments.len()), "{kernel}: {name}");
            arguments.push((kind, name.to_string()));
        }
    }
    arguments
}

/// A line of an argument list; where it is a macro that declares several arguments, each of them on a line.
fn written_out(line: &str) -> String {
    let sources =
        [include_str!("../../../kernels/gpu/cell.h"), include_str!("../../../kernels/gpu/team.h")];
    let written_out = || {
        let (name, given) = line.split_once(')')?.0.split_once('(')?;
        let head = format!("#define {name}(");
        let definition = sources.iter().find_map(|text| Some(text.split_once(&head)?.1))?;
        let (parameters, body) = definition.split("\n\n").next()?.split_once(')')?;
        let arguments = parameters.split(", ").zip(given.split(", "));
        let body = arguments.fold(body.to_string(), |body, (parameter, given)| {
            body.replace(&format!("({parameter},"), &format!("({given},"))
        });
        Some(body.replace("), ", "),\n"))
    };
    written_out().unwrap_or_else(|| line.to_string())
}

/// Holds a launch's arguments against those that the kernel's source declares.
pub(super) fn check_arguments(call: &KernelLaunch) {
    let kind = |arg: &Arg| match arg {
        Arg::In(_) => "IN",
        Arg::Out(_) | Arg::InOut(_) | Arg::Alarm => "OUT",
        Arg::Int(_) => "INT",
        Arg::Float(_) => "FLOAT",
    };
    let given: Vec<_> =
        call.args.iter().map(|(name, arg)| (kind(arg), (*name).to_string())).collect();
    assert_eq!(given, declared(&call.kernel), "the arguments of {}", call.kernel);
    assert_eq!(call.is_cooperative(), given.contains(&("OUT", "alarm".into())));
}

mod tests {
    use super::*;

    /// The arguments that kernels/gpu/README.md gives a kernel.
    fn documented(readme: &str, kernel: &str) -> Vec<(String, String)> {
        let (name, _word) = kernel.rsplit_once('_').unwrap();
        let teams = name.replacen("team_", "mma_", 1);
        let heads = [
            format!("`{name}_{{f32,bf16}}`"),
            format!("`{kernel}`, `{teams}_{{tf32,bf16}}`"),
            format!("`{kernel}`\n\n| | argument"),
        ];
        let at = heads.iter().find_map(|head| readme.rfind(head.as_str())).unwrap();
        let rows = readme[at..].lines().skip_while(|line| !line.starts_with("|---"));
        rows.skip(1)
            .take_while(|line| line.starts_with('|'))
            .map(|row| {
                let cells: Vec<&str> =
                    row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
                let kind = match cells[3] {
                    "int" => "INT",
                    "float" => "FLOAT",
                    constant if constant.starts_with("const ") => "IN",
                    _ => "OUT",
                };
                (kind.to_string(), cells[2].to_string())
            })
            .collect()
    }

    #[test]
    fn the_kernels_readme_has_their_arguments() {
        let readme = include_str!("../../../kernels/gpu/README.md");
        let cells = ["rnn", "gru", "lstm"].into_iter().flat_map(|family| {
            ["forward", "backward", "step_forward", "step_backward"]
                .map(|sweep| format!("{family}_{sweep}_f32"))
        });
        let teams = ["rnn", "gru", "lstm"].into_iter().flat_map(|family| {
            ["forward", "backward"].map(|sweep| format!("team_{family}_{sweep}_f32"))
        });
        let others = [
            "step_begin_f32",
            "step_end_f32",
            "rows_copy_f32",
            "rows_bias_f32",
            "team_arm_f32",
            "adam_f32",
        ];
        let losses = ["head_forward", "head_backward", "forward", "backward", "sum"]
            .map(|kernel| format!("loss_{kernel}_f32"));
        for kernel in cells.chain(teams).chain(losses).chain(others.map(String::from)) {
            let declared =
                declared(&kernel).into_iter().map(|(kind, name)| (kind.to_string(), name));
            assert_eq!(documented(readme, &kernel), declared.collect::<Vec<_>>(), "{kernel}");
        }
    }
}
