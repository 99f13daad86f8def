//! The kernels of an instruction set and a cell as a table, and weights packed for them.

use super::activation::{Identity, Relu, Tanh};
use super::backward::{self, Backward, Scratch};
use super::cell::{Cell, Columns, Plan, Rows, Source};
use super::cells::{Gru, GruResetBefore, Lstm, MinimalGru, ProjectedLstm, Simple};
use super::forward::{self, Forward};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::panels::{pack_columns, pack_rows, unpack_columns, Panels};
use super::portable;
use super::vector::{Element, Vector};
use super::workspace::Buffer;
use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::recurrence::SequenceDims;

/// The cell that a pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Tanh,
    Relu,
    /// For dense layers: one step, with nothing before it.
    Identity,
    Gru,
    GruResetBefore,
    Lstm,
    ProjectedLstm,
    MinimalGru,
}

/// A float that has kernels.
pub(crate) trait Float: Element {
    /// The kernels of an instruction set.
    fn kernels(isa: Isa, function: Function) -> Kernels<Self>;
}

macro_rules! float {
    ($elem:ident, $avx512:ident, $avx2:ident, $neon:ident, $portable:ident) => {
        impl Float for $elem {
            fn kernels(isa: Isa, function: Function) -> Kernels<Self> {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(_) => Kernels::of::<avx512::$avx512>(function),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2Fma(_) => Kernels::of::<avx2::$avx2>(function),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => Kernels::of::<neon::$neon>(function),
                    Isa::Portable => Kernels::of::<portable::$portable>(function),
                }
            }
        }
    };
}

float!(f32, F32x16, F32x8, F32x4, F32x4);
float!(f64, F64x8, F64x4, F64x2, F64x2);

/// The kernels of one instruction set and one cell. Exists only where the CPU has the instruction
/// set, as [`Isa`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<E> {
    plan: fn(&SequenceDims) -> Plan,
    padded: fn(usize) -> usize,
    pack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    unpack_columns: fn(&[E], usize, usize, usize, &mut [E]),
    pack_rows: fn(&[E], usize, usize, usize, &mut [E]),
    pub(super) forward_rows: unsafe fn(&Forward<E>, usize, usize, *mut E),
    pub(super) backward_rows: unsafe fn(&Backward<E>, usize, usize, usize, Scratch<E>),
    /// Whether the state is a function of one gate.
    pub(super) is_simple: bool,
    /// Whether there is a second state.
    pub(super) has_c: bool,
}

impl<E: Element> Kernels<E> {
    fn of<V: Vector<Elem = E>>(function: Function) -> Self {
        match function {
            Function::Tanh => Self::with::<V, Simple<Tanh>>(),
            Function::Relu => Self::with::<V, Simple<Relu>>(),
            Function::Identity => Self::with::<V, Simple<Identity>>(),
            Function::Gru => Self::with::<V, Gru>(),
            Function::GruResetBefore => Self::with::<V, GruResetBefore>(),
            Function::Lstm => Self::with::<V, Lstm>(),
            Function::ProjectedLstm => Self::with::<V, ProjectedLstm>(),
            Function::MinimalGru => Self::with::<V, MinimalGru>(),
        }
    }

    fn with<V: Vector<Elem = E>, C: Cell>() -> Self {
        Self {
            plan: Plan::new::<V, C>,
            padded: |len| Panels::<V>::new(len).padded(),
            pack_columns: pack_columns::<V>,
            unpack_columns: unpack_columns::<V>,
            pack_rows: pack_rows::<V>,
            forward_rows: forward::forward_rows::<V, C>,
            backward_rows: backward::backward_rows::<V, C>,
            is_simple: C::IS_SIMPLE,
            has_c: C::HAS_C,
        }
    }

    /// Where everything lies.
    pub(super) fn plan(&self, dims: &SequenceDims) -> Plan {
        (self.plan)(dims)
    }

    /// Rows of the weights that feed some columns of δ, packed for a backward pass: `(K, len)`.
    fn pack_fed(
        &self,
        plan: &Plan,
        weights: &WeightSlices<E>,
        feeder: Feeder,
        dims: &SequenceDims,
    ) -> Buffer<E> {
        let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
        let (fed, len) = match feeder {
            Feeder::Input => (plan.input_fed, input_size),
            Feeder::State => (plan.state_fed, output_size),
            Feeder::Middle => (plan.middle_fed, hidden_size),
        };
        let mut packed = Buffer::new((self.padded)(len) * fed.len);
        for columns in plan.columns() {
            let matrix = match feeder {
                Feeder::Input if columns.input => weights.w_ih,
                Feeder::State if columns.source == Source::State => weights.w_hh,
                Feeder::Middle if columns.source == Source::Middle => weights.middle(columns),
                _ => continue,
            };
            let rows = columns.rows_of(matrix, len, hidden_size);
            (self.pack_rows)(rows, len, fed.len, columns.at - fed.at, &mut packed);
        }
        packed
    }
}

/// Weights packed for a backward pass, by what feeds them.
pub(crate) struct FedWeights<E> {
    pub(super) input: Buffer<E>,
    pub(super) state: Buffer<E>,
    pub(super) middle: Buffer<E>,
}

/// Packs the weights for a backward pass.
pub(crate) fn pack_for_backward<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> FedWeights<E> {
    let plan = kernels.plan(dims);
    let pack = |feeder: Feeder| kernels.pack_fed(&plan, &weights, feeder, dims);
    FedWeights {
        input: pack(Feeder::Input),
        state: pack(Feeder::State),
        middle: pack(Feeder::Middle),
    }
}

/// What feeds columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feeder {
    Input,
    State,
    Middle,
}

impl Columns {
    /// Its rows of a matrix with `len` columns.
    fn rows_of<'a, E>(&self, matrix: &'a [E], len: usize, hidden_size: usize) -> &'a [E] {
        let first = match self.rows {
            Rows::Gates { first, .. } => first * hidden_size,
            Rows::Projection => 0,
        };
        &matrix[first * len..][..self.len * len]
    }

    fn rows_of_mut<'a, E>(
        &self,
        matrix: &'a mut [E],
        len: usize,
        hidden_size: usize,
    ) -> &'a mut [E] {
        let first = match self.rows {
            Rows::Gates { first, .. } => first * hidden_size,
            Rows::Projection => 0,
        };
        &mut matrix[first * len..][..self.len * len]
    }

    /// Whether the biases of the input, and of the state, are added.
    fn biases(&self) -> [bool; 2] {
        let is_gate = self.rows != Rows::Projection;
        [self.input, is_gate && self.source != Source::Nothing]
    }
}

/// The weights of a layer, or their gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSlices<'a, E> {
    /// `(G·H, I)`.
    pub(crate) w_ih: &'a [E],
    /// `(G·H, P)`.
    pub(crate) w_hh: &'a [E],
    /// `(G·H,)` once or twice: of the input, and of the state.
    pub(crate) biases: [&'a [E]; 2],
    /// `(P, H)`, or empty.
    pub(crate) w_hr: &'a [E],
}

impl<'a, E> WeightSlices<'a, E> {
    /// The matrix of columns that the middle value feeds.
    fn middle(&self, columns: &Columns) -> &'a [E] {
        match columns.rows {
            Rows::Gates { .. } => self.w_hh,
            Rows::Projection => self.w_hr,
        }
    }

    /// Takes `[b_ih | b_hh | W_hr]` apart, of which the latter two may not be there.
    pub(crate) fn new(w_ih: &'a [E], w_hh: &'a [E], rest: &'a [E], gates: usize) -> Self {
        let (b_ih, rest) = rest.split_at(gates.min(rest.len()));
        let (b_hh, w_hr) = rest.split_at(gates.min(rest.len()));
        Self { w_ih, w_hh, biases: [b_ih, b_hh], w_hr }
    }
}

/// Packs the weights for a forward pass.
pub(crate) fn pack_weights<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    weights: WeightSlices<E>,
) -> Vec<E> {
    let hidden_size = dims.hidden_size;
    let plan = kernels.plan(dims);
    let mut packed = vec![E::ZERO; plan.packed_len];
    for columns in plan.columns() {
        let depth = columns.depth();
        let len = (kernels.padded)(columns.len) * depth;
        let packed = &mut packed[columns.packed..][..len];
        let mut bias = vec![E::ZERO; columns.len];
        for (is_added, of_gates) in columns.biases().into_iter().zip(weights.biases) {
            if is_added && !of_gates.is_empty() {
                let of_columns = columns.rows_of(of_gates, 1, hidden_size);
                bias.iter_mut().zip(of_columns).for_each(|(sum, term)| *sum = *sum + *term);
            }
        }
        (kernels.pack_columns)(&bias, 1, depth, 0, packed);
        if columns.input {
            let rows = columns.rows_of(weights.w_ih, columns.inputs, hidden_size);
            (kernels.pack_columns)(rows, columns.inputs, depth, 1, packed);
        }
        let matrix = match columns.source {
            Source::Nothing => continue,
            Source::State => weights.w_hh,
            Source::Middle => weights.middle(columns),
        };
        let rows = columns.rows_of(matrix, columns.sources, hidden_size);
        (kernels.pack_columns)(rows, columns.sources, depth, 1 + columns.inputs, packed);
    }
    packed
}

/// Takes packed gradients apart: those of `W_ih`, `W_hh` and the rest, `rest` numbers long, as
/// [`WeightSlices::new`] knows it.
pub(crate) fn unpack_weights<E: Element>(
    kernels: &Kernels<E>,
    dims: &SequenceDims,
    gates: usize,
    rest: usize,
    packed: &[E],
) -> [Vec<E>; 3] {
    let SequenceDims { input_size, hidden_size, output_size, .. } = *dims;
    let plan = kernels.plan(dims);
    let mut w_ih = vec![E::ZERO; gates * input_size];
    let mut w_hh = vec![E::ZERO; gates * output_size];
    let mut rest = vec![E::ZERO; rest];
    let (b_ih, more) = rest.split_at_mut(gates);
    let (b_hh, w_hr) = more.split_at_mut(gates.min(more.len()));
    for columns in plan.columns() {
        let depth = columns.depth();
        let packed = &packed[columns.packed..][..(kernels.padded)(columns.len) * depth];
        let [of_input, of_state] = columns.biases();
        if of_input {
            let bias = columns.rows_of_mut(b_ih, 1, hidden_size);
            (kernels.unpack_columns)(packed, 1, depth, 0, bias);
        }
        if of_state && !b_hh.is_empty() {
            let bias = columns.rows_of_mut(b_hh, 1, hidden_size);
            (kernels.unpack_columns)(packed, 1, depth, 0, bias);
        }
        if columns.input {
            let rows = columns.rows_of_mut(&mut w_ih, columns.inputs, hidden_size);
            (kernels.unpack_columns)(packed, columns.inputs, depth, 1, rows);
        }
        let matrix: &mut [E] = match (columns.source, columns.rows) {
            (Source::Nothing, _) => continue,
            (Source::Middle, Rows::Projection) => w_hr,
            _ => &mut w_hh,
        };
        let rows = columns.rows_of_mut(matrix, columns.sources, hidden_size);
        (kernels.unpack_columns)(packed, columns.sources, depth, 1 + columns.inputs, rows);
    }
    [w_ih, w_hh, rest]
}
