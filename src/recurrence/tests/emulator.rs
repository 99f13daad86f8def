//! A device for tests: launches are executed on the CPU by the program of `kernels/gpu/host/emulate.cpp`, from
//! the unchanged kernel files; tensors are on the CPU, too.
//!
//! `just emulate` builds the program and names it in `CANDLE_RNN_EMULATE`; in `CANDLE_RNN_EMULATE_METAL`
//! that of the Metal files.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::column_major;
use super::device_memory::{bytes_of, dtype_code, extent, write_bytes};
use super::stand_in::{check_arguments, on};
use crate::recurrence::gpu::alarm::{take_alarm, GAVE_UP};
use crate::recurrence::gpu::gemm::Gemm;
use crate::recurrence::gpu::launch::{int, Arg, KernelLaunch};
use crate::recurrence::gpu::plan::DeviceLimits;
use crate::recurrence::gpu::queue::{gemm_by_candle, Launch};
use crate::Error;

/// What the kernels are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Cuda,
    Metal,
}

/// Runs `body` with this thread's CPU tensors on a device of such limits, and returns what was launched.
pub(crate) fn on_device<R>(
    language: Language,
    limits: DeviceLimits,
    body: impl FnOnce() -> R,
) -> (R, Vec<String>) {
    on_device_without(None, language, limits, body)
}

/// The same, where launches of kernels with `lacking` in their names have a block too few.
pub(super) fn on_device_without<R>(
    lacking: Option<&'static str>,
    language: Language,
    limits: DeviceLimits,
    body: impl FnOnce() -> R,
) -> (R, Vec<String>) {
    let device = Arc::new(Emulated { lacking, ..Emulated::start(language, limits) });
    let result = on(device.clone(), body);
    let launches = device.launches.lock().unwrap().clone();
    (result, launches)
}

struct Emulated {
    language: Language,
    limits: DeviceLimits,
    program: Mutex<Program>,
    launches: Mutex<Vec<String>>,
    alarm: AtomicU32,
    /// What is in the names of kernels whose launches lack their last block.
    lacking: Option<&'static str>,
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
        let program = Mutex::new(Program { child, stdin, stdout });
        let (launches, alarm) = (Mutex::default(), AtomicU32::new(0));
        Self { language, limits, program, launches, alarm, lacking: None }
    }

    fn record(&self, name: &str) {
        self.launches.lock().unwrap().push(name.to_string());
    }
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

    fn of(call: &KernelLaunch, grid: usize) -> candle_core::Result<Self> {
        let mut case = Self(b"CRNNCASE".to_vec());
        case.u32(1);
        case.text(&call.kernel);
        case.u32(grid);
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

    fn launch(&self, call: &KernelLaunch) -> candle_core::Result<()> {
        check_arguments(call);
        if call.is_cooperative() && self.gave_up()? {
            return Err(Error::Device(GAVE_UP.into()).into());
        }
        self.record(&call.kernel);
        let lacks_a_block = self.lacking.is_some_and(|lacking| call.kernel.contains(lacking));
        let case = Case::of(call, call.launch.grid - usize::from(lacks_a_block))?;
        let written = self.program.lock().unwrap().run(&case);
        for (name, bytes) in written {
            let (_, arg) = call.args.iter().find(|(found, _)| *found == name).unwrap();
            if matches!(arg, Arg::Alarm) {
                if bytes != [0; 4] {
                    self.alarm.store(1, Ordering::Relaxed);
                }
                continue;
            }
            write_bytes(arg.tensor().unwrap(), bytes)?;
        }
        Ok(())
    }

    fn gave_up(&self) -> candle_core::Result<bool> {
        take_alarm(&self.alarm, || Ok(()))
    }

    /// As cuBLAS is asked for it; on Metal, as Candle multiplies.
    fn gemm(&self, gemm: &Gemm) -> candle_core::Result<()> {
        self.record("gemm");
        match self.language {
            Language::Cuda => column_major::multiply(gemm),
            Language::Metal => gemm_by_candle(self, gemm),
        }
    }
}
