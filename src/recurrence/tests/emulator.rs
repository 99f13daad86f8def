//! A device for tests: launches are executed on the CPU by the program of `kernels/gpu/host/emulate.cpp`, from
//! the unchanged kernel files; tensors are on the CPU, too.
//!
//! `just emulate` builds the program and names it in `CANDLE_RNN_EMULATE`; in `CANDLE_RNN_EMULATE_METAL`
//! that of the Metal files.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor};

use crate::recurrence::gpu::launch::{int, Arg, KernelLaunch, Launch, GAVE_UP};
use crate::recurrence::gpu::plan::DeviceLimits;
use crate::recurrence::gpu::source;

/// What the kernels are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Cuda,
    Metal,
}

thread_local! {
    static CURRENT: RefCell<Option<Emulated>> = const { RefCell::new(None) };
}

/// The device that this thread's tensors are on, if there is one.
pub(in crate::recurrence) fn current() -> Option<Emulated> {
    CURRENT.with_borrow(Clone::clone)
}

pub(in crate::recurrence) fn is_on() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Runs `body` with this thread's CPU tensors on a device of such limits, and returns what was launched.
pub(super) fn on_device<R>(
    language: Language,
    limits: DeviceLimits,
    body: impl FnOnce() -> R,
) -> (R, Vec<String>) {
    let device = Emulated::start(language, limits);
    let launches = device.launches.clone();
    CURRENT.set(Some(device));
    let result = body();
    CURRENT.set(None);
    let launches = launches.lock().unwrap().clone();
    (result, launches)
}

#[derive(Clone)]
pub(in crate::recurrence) struct Emulated {
    limits: DeviceLimits,
    program: Arc<Mutex<Program>>,
    launches: Arc<Mutex<Vec<String>>>,
}

struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends with its input.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

impl Emulated {
    fn start(language: Language, limits: DeviceLimits) -> Self {
        let variable = match language {
            Language::Cuda => "CANDLE_RNN_EMULATE",
            Language::Metal => "CANDLE_RNN_EMULATE_METAL",
        };
        let program = std::env::var(variable).expect("run this by `just emulate`");
        let mut child = Command::new(program)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self {
            limits,
            program: Arc::new(Mutex::new(Program { child, stdin, stdout })),
            launches: Arc::default(),
        }
    }
}

/// The arguments of a kernel as its source declares them: what kind each is, and its name.
fn declared(kernel: &str) -> Vec<(&'static str, String)> {
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
    for line in list.lines().map(str::trim) {
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

/// A tensor's memory: from its first number to behind its last, whatever lies between.
fn extent(layout: &Layout) -> (usize, usize) {
    let steps = layout.dims().iter().zip(layout.stride());
    let last: usize = steps.map(|(dim, stride)| (dim - 1) * stride).sum();
    (layout.start_offset(), layout.start_offset() + last + 1)
}

/// What the case's format calls a dtype.
fn dtype_code(tensor: &Tensor) -> u8 {
    match tensor.dtype() {
        DType::F32 => 0,
        DType::BF16 => 1,
        DType::U32 => 2,
        other => panic!("kernels take no {other:?}"),
    }
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = extent(layout);
    let Storage::Cpu(storage) = &*storage else { panic!("an emulated tensor is on the CPU") };
    match storage {
        CpuStorage::F32(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        CpuStorage::BF16(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        CpuStorage::U32(values) => {
            values[start..end].iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        _ => panic!("kernels take no such numbers"),
    }
}

/// Writes a tensor's memory, as [`bytes_of`] reads it.
struct WriteBytes(Vec<u8>);

impl InplaceOp1 for WriteBytes {
    fn name(&self) -> &'static str {
        "emulated-write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = extent(layout);
        match storage {
            CpuStorage::F32(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.chunks_exact(4)) {
                    *value = f32::from_le_bytes(bytes.try_into().unwrap());
                }
            }
            CpuStorage::BF16(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.chunks_exact(2)) {
                    let bits = u16::from_le_bytes(bytes.try_into().unwrap());
                    // Of the crate that Candle has its 16-bit floats from.
                    *value = bits_to_bf16(bits);
                }
            }
            _ => panic!("kernels write no such numbers"),
        }
        Ok(())
    }
}

/// A bf16 from its bits, exactly: the upper half of an f32.
fn bits_to_bf16<T: candle_core::WithDType>(bits: u16) -> T {
    T::from_f64(f64::from(f32::from_bits(u32::from(bits) << 16)))
}

/// Case files, see kernels/gpu/host/emulate.cpp.
struct Case(Vec<u8>);

impl Case {
    fn u32(&mut self, value: usize) {
        self.0.extend(u32::try_from(value).unwrap().to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len());
        self.0.extend(text.as_bytes());
    }

    fn of(call: &KernelLaunch) -> candle_core::Result<Self> {
        let mut case = Self(b"CRNNCASE".to_vec());
        case.u32(1);
        case.text(&call.kernel);
        case.u32(call.launch.grid);
        case.u32(call.launch.block);
        case.0.extend((call.launch.shared_bytes as u64).to_le_bytes());
        let ints: Vec<_> = call.args.iter().filter(|(_, a)| matches!(a, Arg::Int(_))).collect();
        case.u32(ints.len());
        for (name, value) in ints {
            case.text(name);
            if let Arg::Int(value) = value {
                case.0.extend(int(name, *value)?.to_le_bytes());
            }
        }
        let floats: Vec<_> = call.args.iter().filter(|(_, a)| matches!(a, Arg::Float(_))).collect();
        case.u32(floats.len());
        for (name, value) in floats {
            case.text(name);
            if let Arg::Float(value) = value {
                case.0.extend((*value as f32).to_le_bytes());
            }
        }
        let tensors: Vec<_> = call.args.iter().filter(|(_, arg)| arg.tensor().is_some()).collect();
        let alarms: Vec<_> = call.args.iter().filter(|(_, a)| matches!(a, Arg::Alarm)).collect();
        case.u32(tensors.len() + alarms.len());
        for (name, _) in alarms {
            case.text(name);
            // One 32-bit integer, read and written.
            case.0.extend([2, 2]);
            case.u32(1);
            case.0.extend(1u64.to_le_bytes());
            case.0.extend(0u32.to_le_bytes());
        }
        for (name, arg) in tensors {
            let tensor = arg.tensor().unwrap();
            let direction = match arg {
                Arg::In(_) => 0,
                // What lies between its numbers is another direction's.
                Arg::Out(_) if tensor.is_contiguous() => 1,
                _ => 2,
            };
            case.text(name);
            case.0.extend([dtype_code(tensor), direction]);
            let (start, end) = extent(tensor.layout());
            case.u32(1);
            case.0.extend((end - start).to_le_bytes());
            if direction != 1 {
                case.0.extend(bytes_of(tensor));
            }
        }
        Ok(case)
    }
}

impl Program {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stdout.read_exact(&mut bytes).expect("the emulator answers");
        bytes
    }

    fn number(&mut self) -> usize {
        u32::from_le_bytes(self.take(4).try_into().unwrap()) as usize
    }

    fn text(&mut self) -> String {
        let len = self.number();
        String::from_utf8(self.take(len)).unwrap()
    }

    /// Runs a launch and returns the tensors that it wrote.
    fn run(&mut self, case: &Case) -> Vec<(String, Vec<u8>)> {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(&case.0).and_then(|()| stdin.flush()).expect("the emulator listens");
        assert_eq!(self.take(8), b"CRNNCASE");
        let (_version, _kernel) = (self.number(), self.text());
        (0..self.number())
            .map(|_| {
                let name = self.text();
                let head = self.take(2);
                let rank = self.number();
                let count: usize = (0..rank)
                    .map(|_| u64::from_le_bytes(self.take(8).try_into().unwrap()) as usize)
                    .product();
                (name, self.take(count * if head[0] == 1 { 2 } else { 4 }))
            })
            .collect()
    }
}

impl Launch for Emulated {
    fn limits(&self) -> DeviceLimits {
        self.limits
    }

    fn note(&self, name: &str) {
        self.launches.lock().unwrap().push(name.to_string());
    }

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        let declared = declared(&call.kernel);
        let given: Vec<_> = call
            .args
            .iter()
            .map(|(name, arg)| {
                let kind = match arg {
                    Arg::In(_) => "IN",
                    Arg::Out(_) | Arg::InOut(_) | Arg::Alarm => "OUT",
                    Arg::Int(_) => "INT",
                    Arg::Float(_) => "FLOAT",
                };
                (kind, name.to_string())
            })
            .collect();
        assert_eq!(given, declared, "the arguments of {}", call.kernel);
        assert_eq!(call.is_cooperative(), given.contains(&("OUT", "alarm".into())));
        self.note(&call.kernel);
        let written = self.program.lock().unwrap().run(&Case::of(call)?);
        for (name, bytes) in written {
            let (_, arg) = call.args.iter().find(|(found, _)| *found == name).unwrap();
            if matches!(arg, Arg::Alarm) {
                if bytes != [0; 4] {
                    candle_core::bail!("{}: {GAVE_UP}", call.kernel)
                }
                continue;
            }
            arg.tensor().unwrap().inplace_op1(&WriteBytes(bytes))?;
        }
        Ok(())
    }
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
        let others = ["step_begin_f32", "step_end_f32", "team_arm_f32", "adam_f32"];
        for kernel in cells.chain(teams).chain(others.map(String::from)) {
            let declared =
                declared(&kernel).into_iter().map(|(kind, name)| (kind.to_string(), name));
            assert_eq!(documented(readme, &kernel), declared.collect::<Vec<_>>(), "{kernel}");
        }
    }
}
