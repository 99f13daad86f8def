//! Data-parallel training: a trainer that shares its steps out over the ranks of a team.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::{CarriedState, Position, Task, Trainer, TrainerConfig, TrainerState};
use crate::distributed::{Meeting, Team, Wait};
use crate::files::tensors::{self, WeightFile};
use crate::optim::AdamState;
use crate::{Error, Result};

/// The prefixes of a state's tensors when it is sent.
const PREFIXES: [&str; 3] = ["weights.", "adam.", "average."];

/// The part of rank 0's state that it sends beside tensors.
#[derive(Serialize, Deserialize)]
struct Beginning {
    config: TrainerConfig,
    step: u64,
    position: Position,
}

impl<T: Task> Trainer<T> {
    /// Shares the steps from here on out over the ranks of a team, which must all call this with equal tasks.
    ///
    /// A step has [`accumulate`](TrainerConfig::accumulate) times [`parts`](TrainerConfig::parts) parts: each rank computes
    /// the gradients of some, and all add them up in the order in which one process does. Weights have the same bits
    /// after every step, on every rank and on any number of ranks. Settings, weights, optimizer and position are those of
    /// rank 0; [`best`](Self::best) is known to it alone. A validation is shared out where the task has it
    /// [in pieces](Task::piecewise_validation); elsewhere rank 0 validates.
    ///
    /// - `identity`: what must be equal on all ranks, such as settings and data
    ///
    /// # Errors
    /// [`Error::Config`] when a step has fewer parts than there are ranks, for a task that goes through its examples in
    /// sequence, and for weights that are not all `f32` or all `f64`; [`Error::Rank`] when another rank fails,
    /// and for one that is not like rank 0.
    pub fn join(&mut self, team: &Team, identity: &[u8]) -> Result<()> {
        if team.is_alone() {
            return Ok(());
        }
        let exchange = Meeting {
            name: "begin",
            place: XxHash3_128::oneshot(identity) as u64,
            replica: 0,
            wait: Wait::Long,
        };
        let state = || if team.leads() { self.packed() } else { Ok(Vec::new()) };
        let mine = self.check_shared(team.size()).and_then(|()| Ok((state()?, ())));
        let (said, ()) = team.agree(exchange, mine)?;
        if !team.leads() {
            self.unpack(&said[0])?;
        }
        self.team = team.clone();
        self.next = None;
        Ok(())
    }

    /// The ranks that train together; one process unless [`join`](Self::join) was called.
    pub fn team(&self) -> &Team {
        &self.team
    }

    fn check_shared(&self, ranks: usize) -> Result<()> {
        let parts = self.config.parts.saturating_mul(self.config.accumulate);
        if parts < ranks {
            return Err(Error::Config(format!(
                "{ranks} processes share out a step of {parts}: start at most {parts}, or train anew with parts of at \
                 least {ranks}"
            )));
        }
        if self.recorded.is_some() {
            return Err(Error::Config(
                "gpu_graph: a training that several processes share out is not recorded: set it to false".into(),
            ));
        }
        if self.task.is_sequential() {
            return Err(Error::Config(
                "a task that goes through its examples in sequence is trained by one process: its state is carried \
                 from batch to batch"
                    .into(),
            ));
        }
        self.flat_dtype().map(drop)
    }

    /// Settings and state as rank 0 sends them.
    fn packed(&self) -> Result<Vec<u8>> {
        let TrainerState { position, weights, adam, average, .. } = self.state()?;
        let mut all = BTreeMap::new();
        let maps = [weights, adam.moments, average.unwrap_or_default()];
        for (prefix, tensors) in PREFIXES.iter().zip(maps) {
            all.extend(
                tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)),
            );
        }
        let beginning = Beginning { config: self.config.clone(), step: adam.step, position };
        let json = serde_json::to_vec(&beginning).map_err(|e| Error::Config(e.to_string()))?;
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json);
        bytes.extend(tensors::serialize(&all)?);
        Ok(bytes)
    }

    /// Takes what rank 0 sent.
    fn unpack(&mut self, bytes: &[u8]) -> Result<()> {
        let fail = |what: String| Error::Device(format!("what rank 0 sent cannot be read: {what}"));
        let (length, rest) =
            bytes.split_first_chunk().ok_or_else(|| fail("it is too short".into()))?;
        let (json, tensors) = rest
            .split_at_checked(u64::from_le_bytes(*length) as usize)
            .ok_or_else(|| fail("it is too short".into()))?;
        let beginning: Beginning =
            serde_json::from_slice(json).map_err(|error| fail(error.to_string()))?;
        let file = WeightFile::parse(Path::new("rank 0"), tensors.to_vec())?;
        let mut maps: [BTreeMap<String, Tensor>; 3] = Default::default();
        for (name, tensor) in file.all()? {
            let known = PREFIXES.iter().zip(&mut maps);
            for (prefix, map) in known {
                if let Some(name) = name.strip_prefix(prefix) {
                    map.insert(name.to_string(), tensor.clone());
                }
            }
        }
        let [weights, moments, average] = maps;
        self.set_config(beginning.config);
        self.restore(&TrainerState {
            position: beginning.position,
            weights,
            adam: AdamState { step: beginning.step, moments },
            average: self.config.ema.map(|_| average),
            carried: CarriedState::new(),
            best: None,
        })
    }

    /// A hash of all that a step changes: weights, moments, averages and the position of the dropout stream.
    pub(super) fn replica(&self) -> Result<u64> {
        let mut bytes = self.engine.dropout_position().to_le_bytes().to_vec();
        let adam = self.engine.adam().state()?;
        let weights =
            self.engine.vars().iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let average = self.engine.averages()?.unwrap_or_default();
        for tensors in [weights.collect(), adam.moments, average] {
            bytes.extend(tensors::serialize(&tensors)?);
        }
        Ok(XxHash3_128::oneshot(&bytes) as u64)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::super::{Event, PiecewiseValidation, Score, StepContext};
    use super::*;
    use crate::data::batches::Batching;
    use crate::distributed::threads;
    use crate::nn::dropout;

    /// y = x W, with dropout of x if asked for; the targets are numbers of which one may be NaN.
    struct Product {
        vars: BTreeMap<String, Var>,
        targets: Vec<f32>,
        dropout: f64,
        /// Whether the task says how much dropout draws.
        tells: bool,
        sequential: bool,
        /// Whether one rank validates.
        whole: bool,
    }

    const FEATURES: usize = 70;

    impl Product {
        fn new() -> Self {
            let weight: Vec<f32> = (0..FEATURES).map(|index| (index as f32).sin()).collect();
            let weight = Tensor::from_vec(weight, (FEATURES, 1), &Device::Cpu).unwrap();
            let bias = Var::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
            let vars = [("weight", Var::from_tensor(&weight).unwrap()), ("bias", bias)];
            let targets = (0..23).map(|index| (index as f32 * 0.7).cos()).collect();
            let vars = vars.map(|(name, var)| (name.to_string(), var)).into();
            Self { vars, targets, dropout: 0., tells: true, sequential: false, whole: false }
        }

        fn outputs(&self, x: &Tensor) -> Result<Tensor> {
            Ok(x.matmul(&self.vars["weight"])?.broadcast_add(&self.vars["bias"])?)
        }
    }

    impl Task for Product {
        type Batch = (Tensor, Tensor);

        fn vars(&self) -> &BTreeMap<String, Var> {
            &self.vars
        }

        fn device(&self) -> &Device {
            &Device::Cpu
        }

        fn examples(&self) -> usize {
            self.targets.len()
        }

        fn is_sequential(&self) -> bool {
            self.sequential
        }

        fn batch(&self, numbers: &[u32], _place: usize) -> Result<Self::Batch> {
            let value =
                |number: u32| (0..FEATURES).map(move |at| (number as f32 + 0.3 * at as f32).sin());
            let x: Vec<f32> = numbers.iter().copied().flat_map(value).collect();
            let y: Vec<f32> = numbers.iter().map(|number| self.targets[*number as usize]).collect();
            Ok((
                Tensor::from_vec(x, (numbers.len(), FEATURES), &Device::Cpu)?,
                Tensor::from_vec(y, (numbers.len(), 1), &Device::Cpu)?,
            ))
        }

        fn loss(&self, (x, y): &Self::Batch, context: &mut StepContext<'_>) -> Result<Tensor> {
            let x = dropout(x, self.dropout, context.rng)?;
            Ok((self.outputs(&x)? - y)?.sqr()?.mean_all()?)
        }

        fn dropout_draws(&self, numbers: &[u32]) -> Option<u64> {
            let elements = if self.dropout > 0. { numbers.len() * FEATURES } else { 0 };
            self.tells.then(|| 64 * elements.div_ceil(64) as u64)
        }

        fn score(&self, (x, y): &Self::Batch) -> Result<Score> {
            let loss = (self.outputs(x)? - y)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
            Ok(Score { loss: f64::from(loss), ..Score::default() })
        }

        fn validate(&self) -> Result<Score> {
            let found: Result<Vec<_>> =
                (0..self.pieces()).map(|piece| self.measure_piece(piece)).collect();
            self.score_pieces(&found?)
        }

        fn piecewise_validation(&self) -> Option<&dyn PiecewiseValidation> {
            (!self.whole).then_some(self)
        }
    }

    /// A piece is an example; the loss is their sum, which depends on their order.
    impl PiecewiseValidation for Product {
        fn pieces(&self) -> usize {
            7
        }

        fn measure_piece(&self, piece: usize) -> Result<Vec<f64>> {
            Ok(vec![self.score(&self.batch(&[piece as u32], 0)?)?.loss / 3.; 1 + piece % 2])
        }

        fn score_pieces(&self, found: &[Vec<f64>]) -> Result<Score> {
            let loss = found.iter().flatten().fold(0., |sum, loss| sum + loss);
            Ok(Score { loss, ..Score::default() })
        }
    }

    fn config() -> TrainerConfig {
        TrainerConfig {
            epochs: 3,
            batch_size: 7,
            batching: Some(Batching::Exact),
            parts: 5,
            ema: Some(0.9),
            patience: Some(2),
            ..TrainerConfig::default()
        }
    }

    /// Trains on so many ranks, each with the task that `make` makes, from a state if there is one, for so many steps.
    fn train(
        ranks: usize,
        make: impl Fn(usize) -> Product + Sync,
        config: &TrainerConfig,
        from: Option<&TrainerState>,
        steps: usize,
    ) -> Vec<Result<TrainerState>> {
        threads::run(ranks, |team| {
            let run = || {
                let mut trainer = Trainer::new(make(team.rank()), config.clone())?;
                if let Some(state) = from.filter(|_| team.leads()) {
                    trainer.restore(state)?;
                }
                trainer.join(&team, b"same")?;
                for _ in 0..steps {
                    if trainer.next_event()? == Event::Done {
                        break;
                    }
                }
                trainer.state()
            };
            team.guard(run)
        })
    }

    fn bytes(state: &TrainerState) -> Vec<Vec<u8>> {
        let average = state.average.clone().unwrap_or_default();
        [&state.weights, &state.adam.moments, &average]
            .map(|tensors| tensors::serialize(tensors).unwrap())
            .into()
    }

    #[test]
    fn any_number_of_ranks_makes_the_bits_of_one_process() {
        for (dropout, whole) in [(0., true), (0.3, false)] {
            let make = |_| Product { dropout, whole, ..Product::new() };
            let alone = train(1, make, &config(), None, 100).remove(0).unwrap();
            for ranks in 2..=5 {
                for state in train(ranks, make, &config(), None, 100) {
                    let state = state.unwrap();
                    assert_eq!(bytes(&state), bytes(&alone), "{ranks}");
                    let seconds = state.position.seconds;
                    assert_eq!(state.position, Position { seconds, ..alone.position.clone() });
                }
            }
            // The last step of an epoch has two examples, fewer than ranks.
            let begun = train(4, make, &config(), None, 6).remove(0).unwrap();
            assert_eq!(begun.position.batch, 1);
            let again = train(2, make, &config(), Some(&begun), 100).remove(1).unwrap();
            assert_eq!(bytes(&again), bytes(&alone));
        }
    }

    #[test]
    fn an_error_in_the_data_of_a_rank_ends_all_and_names_it() {
        let make = |rank| {
            let mut product = Product::new();
            if rank == 1 {
                product.targets = vec![f32::NAN; product.targets.len()];
            }
            product
        };
        let texts: Vec<String> = train(3, make, &config(), None, 100)
            .into_iter()
            .map(|ended| ended.unwrap_err().to_string())
            .collect();
        let reason = "the loss is not finite at step 0 (epoch 1, batch 1): lower the learning rate";
        let told = format!("rank 1: {reason}");
        assert_eq!(texts, [told.clone(), reason.to_string(), told]);
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused() {
        let refused = |make: &(dyn Fn(usize) -> Product + Sync), config: &TrainerConfig| {
            let ended = train(2, make, config, None, 100).remove(0);
            ended.map(drop).unwrap_err().to_string()
        };
        let untold = |_| Product { dropout: 0.3, tells: false, ..Product::new() };
        assert!(refused(&untold, &config()).contains("task with dropout"));
        let sequential = |_| Product { sequential: true, ..Product::new() };
        assert!(refused(&sequential, &config()).contains("in sequence"));
        let whole = TrainerConfig { parts: 1, ..config() };
        let text = refused(&|_| Product::new(), &whole);
        assert!(text.contains("2 processes share out a step of 1: start at most 1"), "{text}");
        // Several batches of a step are parts too.
        let several = TrainerConfig { accumulate: 2, ..whole };
        assert!(train(2, |_| Product::new(), &several, None, 100).remove(0).is_ok());
    }
}
