//! Optimizer steps that a device has recorded, by the sizes of their batches.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use candle_core::{DType, Tensor};

use super::engine::StepEngine;
use super::{Event, Task};
use crate::recurrence::backward;
use crate::recurrence::gpu::{Recorder, Recording};
use crate::{Error, Result};

/// The steps of a batch's size that are made one by one before one is recorded: kernels are loaded and libraries made ready by them.
pub(super) const WARM_UP: usize = 2;

/// N, the steps whose losses are read at once.
pub(super) const RING: usize = 16;

/// The recorded steps of a trainer, by the number of their examples.
pub(super) struct RecordedSteps<T: Task> {
    recorder: Box<dyn Recorder>,
    /// Steps that were made one by one.
    pub(super) warm_ups: BTreeMap<usize, usize>,
    graphs: BTreeMap<usize, StepGraph<T>>,
    /// `(1,)`, where a recorded step writes its loss.
    loss: Tensor,
    /// `(N,)`, the losses of the steps since the last were read.
    pub(super) losses: Tensor,
    /// The events of steps that are made.
    pub(super) events: VecDeque<Result<Event>>,
    /// The trainer goes no further than a multiple of so many steps before it has handed out all events.
    pub(super) stop_every: Option<u64>,
}

/// A recorded step with the batch that it reads, whose numbers are exchanged.
struct StepGraph<T: Task> {
    batch: T::Batch,
    recording: Box<dyn Recording>,
}

impl<T: Task> RecordedSteps<T> {
    /// No step yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a task whose steps cannot be recorded, [`Error::Candle`] when the device fails.
    pub(super) fn new(recorder: Box<dyn Recorder>, task: &T) -> Result<Self> {
        if let Some((name, var)) = task.vars().iter().find(|(_, var)| var.dtype() != DType::F32) {
            return Err(Error::Config(format!(
                "gpu_graph: steps in f32 are recorded, and {name} is {}: set dtype to f32 or gpu_graph to false",
                var.dtype().as_str()
            )));
        }
        task.fixed_tensors(&task.batch(&[0], 0)?)?;
        let zeros = |count: usize| Tensor::zeros(count, DType::F32, task.device());
        let (loss, losses) = (zeros(1)?, zeros(RING)?);
        // The kernel of such a copy is loaded before anything is recorded.
        losses.slice_set(&loss, 0, 0)?;
        Ok(Self {
            recorder,
            warm_ups: BTreeMap::new(),
            graphs: BTreeMap::new(),
            loss,
            losses,
            events: VecDeque::new(),
            stop_every: None,
        })
    }

    /// The event of a step that is made, if there is one.
    pub(super) fn next_event(&mut self) -> Option<Result<Event>> {
        self.events.pop_front()
    }

    /// Notes a step that was made by itself.
    pub(super) fn note_single(&mut self, examples: usize) {
        *self.warm_ups.entry(examples).or_default() += 1;
    }

    /// Forgets what was recorded: the optimizer has other memory.
    pub(super) fn forget(&mut self) {
        self.graphs.clear();
        self.events.clear();
    }

    /// Puts a step on the device's stream, which the engine has begun, and behind it a copy of its loss into the ring.
    pub(super) fn launch(
        &mut self,
        task: &T,
        engine: &mut StepEngine,
        batch: T::Batch,
        examples: usize,
        slot: usize,
    ) -> Result<()> {
        let Self { recorder, graphs, loss, losses, .. } = self;
        let graph = match graphs.entry(examples) {
            Entry::Occupied(graph) => {
                let graph = graph.into_mut();
                copy_batch(task, &batch, &graph.batch)?;
                graph
            }
            Entry::Vacant(place) => {
                let recording = recorder.record(&mut || make_step(task, engine, &batch, loss))?;
                place.insert(StepGraph { batch, recording })
            }
        };
        let StepGraph { batch, recording } = graph;
        recording.launch(&mut || make_step(task, engine, batch, loss))?;
        Ok(losses.slice_set(loss, 0, slot)?)
    }
}

/// Copies the numbers of a batch to where those of another are.
fn copy_batch<T: Task>(task: &T, from: &T::Batch, to: &T::Batch) -> Result<()> {
    let (from, to) = (task.fixed_tensors(from)?, task.fixed_tensors(to)?);
    let shapes = |tensors: &[&Tensor]| -> Vec<Vec<usize>> {
        tensors.iter().map(|tensor| tensor.dims().to_vec()).collect()
    };
    if shapes(&from) != shapes(&to) {
        return Err(Error::Config(format!(
            "gpu_graph: batches of as many examples have shapes {:?} and {:?}: set it to false",
            shapes(&to),
            shapes(&from)
        )));
    }
    for (from, to) in from.into_iter().zip(to) {
        to.slice_set(from, 0, 0)?;
    }
    Ok(())
}

/// The work of a step that the engine has begun, without waiting for any of it.
fn make_step<T: Task>(
    task: &T,
    engine: &mut StepEngine,
    batch: &T::Batch,
    to: &Tensor,
) -> Result<()> {
    let mut attempt = engine.attempt();
    let loss = task.loss(batch, &mut attempt.context())?;
    let context = attempt.context();
    if context.rng.position() as u64 != engine.dropout_position() || context.state.get().is_some() {
        return Err(Error::Config(
            "gpu_graph: the loss draws random numbers or carries a state, and a recorded step does neither: set it to false"
                .into(),
        ));
    }
    let grads = backward(&loss)?;
    to.slice_set(&loss.detach().reshape(1)?, 0, 0)?;
    engine.move_recorded(&grads)
}
