//! Pointers that carry their strides and, in debug builds, their bounds.
//!
//! Threads write disjoint rows of one tensor, and a kernel broadcasts elements that lie apart, so kernels
//! hold pointers rather than slices. [`View`] is a pointer to read through, [`ViewMut`] one to
//! write through as well: both are [`Strided`], with `N` strides over rows whose elements lie side by side:
//!
//! - `View<E, 0>`: a row
//! - `View<E, 1>`: rows
//! - `View<E, 2>`: rows by step, or any other matrix with two strides
//!
//! A view is made from a slice. In a debug build it keeps the bounds of that slice, and every address that
//! is formed is checked against them; in a release build it is the pointer and its strides. What may
//! be absent is an `Option` of a view, which takes no more room.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// Elements at `N` strides, with access `A`: [`Read`] or [`Write`].
pub(crate) struct Strided<E, const N: usize, A> {
    at: NonNull<E>,
    strides: [isize; N],
    access: PhantomData<A>,
    #[cfg(debug_assertions)]
    bounds: Bounds,
}

/// Elements to read, at `N` strides.
pub(crate) type View<E, const N: usize> = Strided<E, N, Read>;

/// Elements to read and write, at `N` strides.
pub(crate) type ViewMut<E, const N: usize> = Strided<E, N, Write>;

/// Where a view begins in its slice, and its strides, in elements.
pub(crate) type Place<const N: usize> = (usize, [isize; N]);

/// The access of a [`View`].
pub(crate) struct Read;

/// The access of a [`ViewMut`].
pub(crate) struct Write;

/// The addresses of the first element of the slice behind a view, and of the end of the last.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: usize,
    end: usize,
}

#[cfg(debug_assertions)]
impl Bounds {
    fn of<E>(start: NonNull<E>, len: usize) -> Self {
        let start = start.addr().get();
        Self { start, end: start + len * size_of::<E>() }
    }
}

impl<E, const N: usize, A> Clone for Strided<E, N, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E, const N: usize, A> Copy for Strided<E, N, A> {}

// SAFETY: a view gives its elements only to unsafe code, which must not race; that elements may be
// read and written from any thread is what the bounds say.
unsafe impl<E: Send + Sync, const N: usize, A> Sync for Strided<E, N, A> {}

impl<E, const N: usize, A> Strided<E, N, A> {
    /// A view of the `len` elements at `start`.
    fn of_parts(start: NonNull<E>, len: usize, (first, strides): Place<N>) -> Self {
        assert!(first <= len, "element {first} of {len}");
        let view = Self {
            at: start,
            strides,
            access: PhantomData,
            #[cfg(debug_assertions)]
            bounds: Bounds::of(start, len),
        };
        // SAFETY: the slice goes on to `first`, as was checked.
        unsafe { view.offset(first as isize) }
    }

    /// The same memory from another element on.
    ///
    /// # Safety
    /// That element must lie in the slice that the view was made from, or be its end.
    #[inline(always)]
    pub(crate) unsafe fn offset(self, elements: isize) -> Self {
        #[cfg(debug_assertions)]
        {
            let at = self.at.addr().get().wrapping_add_signed(elements * size_of::<E>() as isize);
            let Bounds { start, end } = self.bounds;
            debug_assert!((start..=end).contains(&at), "{at:#x} lies outside {:#x?}", self.bounds);
        }
        // SAFETY: both ends of the offset lie in one slice, as the caller says.
        Self { at: unsafe { self.at.offset(elements) }, ..self }
    }

    /// The same place with other strides.
    #[inline(always)]
    pub(crate) fn reshape<const M: usize>(self, strides: [isize; M]) -> Strided<E, M, A> {
        Strided {
            at: self.at,
            strides,
            access: PhantomData,
            #[cfg(debug_assertions)]
            bounds: self.bounds,
        }
    }

    /// The strides in elements.
    #[inline(always)]
    pub(crate) fn strides(&self) -> [isize; N] {
        self.strides
    }

    /// The same elements, to read.
    #[inline(always)]
    pub(crate) fn as_view(self) -> View<E, N> {
        View {
            at: self.at,
            strides: self.strides,
            access: PhantomData,
            #[cfg(debug_assertions)]
            bounds: self.bounds,
        }
    }

    /// The same place, of which only the next `count` elements may be used.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn narrow(self, count: usize) -> Self {
        self.check(count);
        Self {
            #[cfg(debug_assertions)]
            bounds: Bounds::of(self.at, count),
            ..self
        }
    }

    /// In debug builds, panics unless `count` elements from here on lie within the bounds.
    #[inline(always)]
    fn check(&self, count: usize) {
        #[cfg(debug_assertions)]
        {
            let at = self.at.addr().get();
            debug_assert!(
                self.bounds.start <= at && at + count * size_of::<E>() <= self.bounds.end,
                "{count} elements at {at:#x} lie outside {:#x?}",
                self.bounds
            );
        }
        let _ = count;
    }
}

impl<E, A> Strided<E, 0, A> {
    /// The row from its element `index` on.
    ///
    /// # Safety
    /// That element must lie in the slice that the view was made from, or be its end.
    #[inline(always)]
    pub(crate) unsafe fn add(self, index: usize) -> Self {
        // SAFETY: as the caller says.
        unsafe { self.offset(index as isize) }
    }
}

impl<E, A> Strided<E, 1, A> {
    /// A row.
    ///
    /// # Safety
    /// It must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> Strided<E, 0, A> {
        // SAFETY: as the caller says.
        unsafe { self.reshape([]).offset(row as isize * self.strides[0]) }
    }

    /// The rows from a row on, each from a column on.
    ///
    /// # Safety
    /// The first of these elements must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn tile(self, row: usize, column: usize) -> Self {
        // SAFETY: as the caller says.
        unsafe { self.offset(row as isize * self.strides[0] + column as isize) }
    }
}

impl<E, A> Strided<E, 2, A> {
    /// The row at an index of the first stride, row, and one of the second, step.
    ///
    /// # Safety
    /// It must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn at(self, row: usize, step: usize) -> Strided<E, 0, A> {
        let [of_row, of_step] = self.strides;
        // SAFETY: as the caller says.
        unsafe { self.reshape([]).offset(row as isize * of_row + step as isize * of_step) }
    }

    /// All rows of a step, from a row on.
    ///
    /// # Safety
    /// That row must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn rows_at(self, row: usize, step: usize) -> Strided<E, 1, A> {
        // SAFETY: as the caller says.
        unsafe { self.at(row, step).reshape([self.strides[0]]) }
    }

    /// In debug builds, panics unless all of `rows` by `steps` elements lie within the bounds.
    #[inline(always)]
    pub(crate) fn check_corners(&self, rows: usize, steps: usize) {
        #[cfg(debug_assertions)]
        if rows > 0 && steps > 0 {
            for (row, step) in [(0, 0), (rows - 1, 0), (0, steps - 1), (rows - 1, steps - 1)] {
                // SAFETY: `offset` checks what it is asked for, before anything is read.
                unsafe { self.at(row, step).check(1) };
            }
        }
        let _ = (rows, steps);
    }
}

impl<E, const N: usize> View<E, N> {
    /// A view of a slice.
    ///
    /// # Panics
    /// When it begins behind the end of the slice.
    pub(crate) fn with_strides(slice: &[E], place: Place<N>) -> Self {
        Self::of_parts(NonNull::from(slice).cast(), slice.len(), place)
    }

    /// A pointer to `count` elements from here on.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn ptr(self, count: usize) -> *const E {
        self.check(count);
        self.at.as_ptr()
    }
}

impl<E> View<E, 0> {
    /// A view of a slice.
    pub(crate) fn new(slice: &[E]) -> Self {
        Self::with_strides(slice, (0, []))
    }

    /// The first `len` elements.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from, be initialised, and outlive `'a`, during
    /// which nobody may write them.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, len: usize) -> &'a [E] {
        // SAFETY: as the caller says.
        unsafe { std::slice::from_raw_parts(self.ptr(len), len) }
    }
}

impl<E, const N: usize> ViewMut<E, N> {
    /// A view of a slice.
    ///
    /// # Panics
    /// When it begins behind the end of the slice.
    pub(crate) fn with_strides(slice: &mut [E], place: Place<N>) -> Self {
        SharedSlice::new(slice).view(place)
    }

    /// A pointer to `count` elements from here on.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from.
    #[inline(always)]
    pub(crate) unsafe fn ptr(self, count: usize) -> *mut E {
        self.check(count);
        self.at.as_ptr()
    }
}

impl<E> ViewMut<E, 0> {
    /// A view of a slice.
    pub(crate) fn new(slice: &mut [E]) -> Self {
        Self::with_strides(slice, (0, []))
    }

    /// The first `len` elements.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from, be initialised, and outlive `'a`, during
    /// which nobody else may read or write them.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, len: usize) -> &'a mut [E] {
        // SAFETY: as the caller says.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(len), len) }
    }

    /// Writes `len` elements: those of another row.
    ///
    /// # Safety
    /// Both rows must lie in the slices that their views were made from and apart from each other, and
    /// nobody else may use the elements that are written.
    #[inline(always)]
    pub(crate) unsafe fn copy_from(self, from: View<E, 0>, len: usize)
    where
        E: Copy,
    {
        // SAFETY: as the caller says.
        unsafe { std::ptr::copy_nonoverlapping(from.ptr(len), self.ptr(len), len) }
    }

    /// Writes `value` to `len` elements.
    ///
    /// # Safety
    /// They must lie in the slice that the view was made from, and nobody else may use them.
    #[inline(always)]
    pub(crate) unsafe fn fill(self, value: E, len: usize)
    where
        E: Copy,
    {
        // SAFETY: as the caller says.
        let at = unsafe { self.ptr(len) };
        for index in 0..len {
            // SAFETY: `index` is less than `len`.
            unsafe { at.add(index).write(value) };
        }
    }
}

/// A slice of which several threads, or both directions, each write a part of their own.
pub(crate) struct SharedSlice<E> {
    start: NonNull<E>,
    len: usize,
}

// SAFETY: it gives its elements only to unsafe code, which keeps to a part of its own.
unsafe impl<E: Send + Sync> Sync for SharedSlice<E> {}

impl<E> SharedSlice<E> {
    /// Shares a slice.
    pub(crate) fn new(slice: &mut [E]) -> Self {
        Self { len: slice.len(), start: NonNull::from(slice).cast() }
    }

    /// Shares elements that need not be initialised: they are written before they are read.
    pub(crate) fn uninit(slice: &mut [MaybeUninit<E>]) -> Self {
        Self { len: slice.len(), start: NonNull::from(slice).cast() }
    }

    /// A view of the slice.
    ///
    /// # Panics
    /// When it begins behind the end of the slice.
    pub(crate) fn view<const N: usize>(&self, place: Place<N>) -> ViewMut<E, N> {
        Strided::of_parts(self.start, self.len, place)
    }

    /// A view of the `len` elements from `first` on.
    ///
    /// # Panics
    /// When they lie behind the end of the slice.
    pub(crate) fn part(&self, first: usize, len: usize) -> ViewMut<E, 0> {
        assert!(first <= self.len && len <= self.len - first, "{first} and {len} of {}", self.len);
        let part = self.view((first, []));
        // SAFETY: as was checked.
        unsafe { part.narrow(len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_lead_to_rows_and_steps_in_either_direction() {
        let elements: Vec<f32> = (0..24).map(|index| index as f32).collect();
        // 2 rows of 4 steps of 3, the steps backwards.
        let view = View::with_strides(&elements, (9, [12, -3]));
        // SAFETY: rows and steps are those of the slice.
        let row = unsafe { view.at(1, 2).slice(3) };
        assert_eq!(row, [15., 16., 17.]);
    }

    #[test]
    fn an_absent_view_takes_no_room() {
        assert_eq!(size_of::<Option<View<f32, 0>>>(), size_of::<View<f32, 0>>());
        #[cfg(not(debug_assertions))]
        assert_eq!(size_of::<View<f32, 2>>(), 3 * size_of::<usize>());
    }

    #[test]
    #[cfg(debug_assertions)]
    fn debug_builds_notice_an_element_outside() {
        let outside = |offset: isize, count: usize| {
            let elements = [0f32; 8];
            // SAFETY: the address is checked before it is used, which is what is tested.
            std::panic::catch_unwind(|| unsafe { View::new(&elements).offset(offset).ptr(count) })
                .is_err()
        };
        assert!(!outside(8, 0) && !outside(2, 6));
        assert!(outside(2, 7) && outside(9, 0) && outside(-1, 1));
    }
}
