//! Where layers put their initial weights.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{VarBuilder, VarMap};

use crate::{Error, Result};

/// Where layers put their initial weights: the names, the dtype and the device of variables in a `VarMap`.
///
/// It is to a layer's `init` what Candle's `VarBuilder` is to its `new`: [`pp`](Self::pp) gives a layer a
/// prefix of its own. A name is given once: a second layer under the prefix of a first would take its
/// variables away, and the first would never learn.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_rnn::{Gru, GruConfig, Init, Purpose, SeededRng, VarSink};
/// # fn main() -> candle_rnn::Result<()> {
/// let sink = VarSink::new(DType::F32, &Device::Cpu);
/// let rng = &mut SeededRng::new(1, Purpose::Init);
/// let encoder = Gru::init(GruConfig::new(3, 8), Init::Orthogonal, rng, &sink.pp("encoder"))?;
/// let decoder = Gru::init(GruConfig::new(8, 3), Init::Orthogonal, rng, &sink.pp("decoder"))?;
/// assert!(sink.named()?.contains_key("encoder.weight_ih_l0"));
/// assert_eq!(sink.pp("decoder").named()?.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VarSink {
    vars: VarMap,
    /// Empty, or names with dots between them.
    prefix: String,
    dtype: DType,
    device: Device,
}

impl VarSink {
    /// A sink with a new `VarMap`, which makes variables of `dtype` on `device`.
    pub fn new(dtype: DType, device: &Device) -> Self {
        Self::from_varmap(&VarMap::new(), dtype, device)
    }

    /// A sink that makes variables of `dtype` on `device` in a `VarMap` of the caller's.
    pub fn from_varmap(vars: &VarMap, dtype: DType, device: &Device) -> Self {
        Self { vars: vars.clone(), prefix: String::new(), dtype, device: device.clone() }
    }

    /// The same sink under a longer prefix: a dot and `name` are added to it. An empty `name` adds nothing.
    #[doc(alias = "push_prefix")]
    pub fn pp(&self, name: impl ToString) -> Self {
        Self { prefix: self.full_name(&name.to_string()), ..self.clone() }
    }

    /// The prefix of the names, without a dot behind it; empty at the root.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The dtype of the variables.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the variables are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The map of all variables, also of those under other prefixes: `var_map().save(path)` writes them.
    pub fn var_map(&self) -> &VarMap {
        &self.vars
    }

    /// A builder that finds the variables under the sink's prefix: layers of candle-nn on it share them.
    ///
    /// It makes none: a layer that asks for a name which is not there gets an error, where Candle's own
    /// builder would draw values without a seed. [`insert`](Self::insert) puts values there first.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_rnn::VarSink;
    /// # fn main() -> candle_rnn::Result<()> {
    /// let sink = VarSink::new(DType::F32, &Device::Cpu).pp("norm");
    /// assert!(candle_nn::rms_norm(8, 1e-5, sink.builder()).is_err());
    /// sink.insert("weight", &Tensor::ones(8, DType::F32, &Device::Cpu)?)?;
    /// assert!(candle_nn::rms_norm(8, 1e-5, sink.builder()).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(&self) -> VarBuilder<'static> {
        let found = Box::new(Inserted(self.vars.clone()));
        let root = VarBuilder::from_backend(found, self.dtype, self.device.clone());
        if self.prefix.is_empty() {
            root
        } else {
            root.pp(&self.prefix)
        }
    }

    /// Makes a variable with the values of a tensor, in the sink's dtype and on its device, and returns it.
    ///
    /// # Errors
    /// [`Error::Config`] when there is a variable of this name, [`Error::Candle`] when the tensor cannot be
    /// copied.
    pub fn insert(&self, name: impl AsRef<str>, tensor: &Tensor) -> Result<Var> {
        let name = self.full_name(name.as_ref());
        self.insert_all(vec![(name.clone(), tensor.clone())])?;
        let vars = self.vars.data().lock().map_err(|_| lost())?;
        vars.get(&name).cloned().ok_or_else(|| Error::Config(missing(&name)))
    }

    /// The variables under the sink's prefix, by their full names, sorted.
    ///
    /// # Errors
    /// [`Error::Config`] when a thread that held them panicked.
    pub fn named(&self) -> Result<BTreeMap<String, Var>> {
        let is_under = |name: &str| match name.strip_prefix(&self.prefix) {
            Some(rest) => self.prefix.is_empty() || rest.starts_with('.'),
            None => false,
        };
        // A hash map has no order: sorted names do.
        let vars = self.vars.data().lock().map_err(|_| lost())?;
        let found = vars.iter().filter(|(name, _)| is_under(name));
        Ok(found.map(|(name, var)| (name.clone(), var.clone())).collect())
    }

    /// A name behind the prefix.
    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() || name.is_empty() {
            format!("{}{name}", self.prefix)
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    /// The full names of a layer's variables, which are to be made: none of them is there.
    ///
    /// # Errors
    /// [`Error::Config`] when one is, or when the prefix has a dot too many; [`Error::DType`] unless the
    /// sink makes `f32` or `f64`.
    pub(crate) fn new_names(
        &self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<String>> {
        let prefix = &self.prefix;
        if prefix.split('.').any(str::is_empty) && !prefix.is_empty() {
            return Err(Error::Config(format!(
                "the prefix {prefix:?} has a dot too many: the dot before a weight's name is added to it"
            )));
        }
        if !matches!(self.dtype, DType::F32 | DType::F64) {
            return Err(Error::DType {
                op: "init",
                tensor: format!("the variables under {prefix:?}"),
                expected: "f32 or f64, as the layers compute",
                actual: self.dtype.as_str().into(),
            });
        }
        let names: Vec<String> =
            names.into_iter().map(|name| self.full_name(name.as_ref())).collect();
        let vars = self.vars.data().lock().map_err(|_| lost())?;
        match names.iter().find(|name| vars.contains_key(*name)) {
            Some(name) => Err(exists(name)),
            None => Ok(names),
        }
    }

    /// Makes variables with the values of tensors, by full names: all, or none where a name is taken.
    pub(crate) fn insert_all(&self, tensors: Vec<(String, Tensor)>) -> Result<()> {
        let mut made = BTreeMap::new();
        for (name, tensor) in tensors {
            let tensor = tensor.detach().copy()?;
            let tensor = tensor.to_dtype(self.dtype)?.to_device(&self.device)?;
            if made.contains_key(&name) {
                return Err(exists(&name));
            }
            made.insert(name, Var::from_tensor(&tensor)?);
        }
        let mut vars = self.vars.data().lock().map_err(|_| lost())?;
        if let Some(name) = made.keys().find(|name| vars.contains_key(*name)) {
            return Err(exists(name));
        }
        vars.extend(made);
        Ok(())
    }
}

/// `VarMap` has no `Debug`.
impl fmt::Debug for VarSink {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { prefix, dtype, device, .. } = self;
        let mut fields = f.debug_struct("VarSink");
        fields.field("prefix", prefix).field("dtype", dtype).field("device", device);
        fields.finish_non_exhaustive()
    }
}

/// The variables of a `VarMap`, and no others.
struct Inserted(VarMap);

impl SimpleBackend for Inserted {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let (expected, found) = (shape.dims(), tensor.dims());
            return Err(candle_core::Error::Msg(format!(
                "the variable {name} has shape {found:?}, the layer needs {expected:?}"
            )));
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        // `Msg` itself: what Candle's `msg` makes may have a backtrace in its text.
        let error = |text: String| candle_core::Error::Msg(text);
        let vars = self.0.data().lock().map_err(|_| error(lost().to_string()))?;
        let var = vars.get(name).ok_or_else(|| error(missing(name)))?;
        // As it is: a copy in another dtype would not follow its changes.
        Ok(var.as_tensor().clone())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.data().lock().is_ok_and(|vars| vars.contains_key(name))
    }
}

fn exists(name: &str) -> Error {
    Error::Config(format!(
        "the variable {name} exists already: give each layer a prefix of its own"
    ))
}

fn missing(name: &str) -> String {
    format!(
        "no variable {name}: insert it with VarSink::insert, or make the layer with an init of its own, \
         such as nn::Embedding::init"
    )
}

fn lost() -> Error {
    Error::Config("the variables are lost: a thread that held them panicked".into())
}
