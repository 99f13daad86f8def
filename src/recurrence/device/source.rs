//! The Metal kernels' source: the system's compiler takes it as one text, so included files are pasted.
