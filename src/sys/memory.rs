//! Memory from the system: zeroed regions that stay where they are, and arrays laid over them.
//!
//! A region is *reserved* whole and becomes resident page by page as it is touched, so that the index and the arena
//! can be given their greatest size at start-up and never move. Under Miri, which cannot map, it is heap memory.
//!
//! Not here: what lies in a region. That is `store/arena.rs` and `store/item.rs`.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// What the system is to back a region with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge pages, if it has them: a random lookup then misses the cache, but not the page table as well.
    Huge,
    /// The same, but for the first 2 MiB, which are small pages: what begins small must not cost a huge page.
    HugeLater,
    /// Pages as small as they come, for what is touched here and there.
    Small,
}

/// Zeroed memory, aligned to its kind of page, unmapped on drop.
///
/// ```text
///   mapped   ......|======== huge pages ========|== small ==|......      trimmed where dotted
///                  base, 2 MiB aligned     last whole one    base + len
/// ```
///
/// A huge page that the region shared with its neighbour would be resident whole as soon as either is touched: two
/// megabytes more or less, by the chance of where the kernel maps. So a region with huge pages begins with one.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    /// At least `len`; what `reserve` mapped.
    #[cfg_attr(miri, expect(dead_code, reason = "nothing is mapped"))]
    mapped_len: usize,
}

// SAFETY: a region is an address range that it alone unmaps; it hands out no references itself.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives the base address and the length, both constant.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves `len` bytes, all zero.
    ///
    /// # Errors
    /// The system's, when the address space or the commit limit does not allow it.
    #[cfg(not(miri))]
    pub fn reserve(len: usize, backing: Backing) -> io::Result<Self> {
        let skip = match backing {
            Backing::Small => return Ok(Self { base: Self::map(len)?, len, mapped_len: len }),
            Backing::Huge => 0,
            Backing::HugeLater => HUGE_LEN,
        };
        let mapped_len = len.max(1).checked_next_multiple_of(HUGE_LEN);
        let mapped_len = mapped_len.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let region = Self { base: Self::map_aligned(mapped_len)?, len, mapped_len };
        // Whole huge pages only: the end of the last one would be resident for nothing.
        let huge_len = (len / HUGE_LEN * HUGE_LEN).saturating_sub(skip);
        if huge_len > 0 {
            use nix::sys::mman::{MmapAdvise, madvise};
            // SAFETY: `skip` is less than the region's length, as something of it is left.
            let from = unsafe { region.base.add(skip) };
            // SAFETY: the range is inside the mapping just made; the advice changes how it is backed, not what it holds.
            let advised = unsafe { madvise(from.cast(), huge_len, MmapAdvise::MADV_HUGEPAGE) };
            // A kernel without huge pages is no reason to do without the memory.
            let _ = advised;
        }
        Ok(region)
    }

    /// Gives the memory behind a part of the region back to the system. What is read there afterwards is zeros, or what it was
    /// if the system did not take it; whether it did.
    ///
    /// # Panics
    /// When that is no part of the region, or not in whole pages of the system.
    pub fn let_go(&self, offset: usize, len: usize) -> bool {
        assert!(offset + len <= self.len, "more than the region has");
        // The system takes whole pages of its own: the neighbours of a part of one would go with it.
        let page_len = page_len();
        assert!(offset.is_multiple_of(page_len) && len.is_multiple_of(page_len), "not in whole pages of {page_len}");
        #[cfg(not(miri))]
        {
            // SAFETY: inside the region by the assertion.
            let from = unsafe { self.base.add(offset) }.as_ptr().cast();
            // SAFETY: a range of the region's mapping (which begins with a page), in whole pages of the system's length by the second
            // assertion, so that nothing else is rounded in. Everything in a region is valid when zero, as it was
            // at first, and nobody has a reference that may not see it change: plain bytes are borrowed only while they are in use, and
            // whatever else there is may change at any time.
            let gone = unsafe { libc::madvise(from, len, libc::MADV_DONTNEED) } == 0;
            // Memory that is locked (-k) is given back by another name, since Linux 5.18.
            // SAFETY: as above.
            gone || unsafe { libc::madvise(from, len, libc::MADV_DONTNEED_LOCKED) } == 0
        }
        #[cfg(miri)]
        false
    }

    /// Whether the system may put the region's small pages together to huge ones, those that are there already apart.
    pub fn allow_huge(&self, allowed: bool) {
        #[cfg(not(miri))]
        {
            use nix::sys::mman::{MmapAdvise, madvise};
            let advice = if allowed { MmapAdvise::MADV_HUGEPAGE } else { MmapAdvise::MADV_NOHUGEPAGE };
            let len = self.len / HUGE_LEN * HUGE_LEN;
            if len > 0 {
                // SAFETY: whole pages of the mapping; the advice changes how it is backed, not what it holds.
                let advised = unsafe { madvise(self.base.cast(), len, advice) };
                // A kernel without huge pages has none to put together.
                let _ = advised;
            }
        }
        #[cfg(miri)]
        let _ = allowed;
    }

    /// Makes the first `len` bytes resident, as far as the system has the memory.
    pub fn populate(&self, len: usize) {
        assert!(len <= self.len, "more than the region has");
        #[cfg(not(miri))]
        {
            use nix::sys::mman::{MmapAdvise, madvise};
            // SAFETY: a range of the mapping, which begins with a page; it is only made resident.
            let populated = unsafe { madvise(self.base.cast(), len, MmapAdvise::MADV_POPULATE_WRITE) };
            // A kernel that does not know how (before 5.14) has it become resident as it is used.
            let _ = populated;
        }
    }

    /// A mapping of `len` bytes.
    #[cfg(not(miri))]
    fn map(len: usize) -> io::Result<NonNull<u8>> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let whole = std::num::NonZeroUsize::new(len).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
        Ok(base.cast())
    }

    /// A mapping of `len` bytes, a multiple of a huge page, that begins with one: cut out of a longer one.
    #[cfg(not(miri))]
    fn map_aligned(len: usize) -> io::Result<NonNull<u8>> {
        let whole_len = len.checked_add(HUGE_LEN).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let whole = Self::map(whole_len)?;
        let head_len = whole.addr().get().next_multiple_of(HUGE_LEN) - whole.addr().get();
        // SAFETY: less than `HUGE_LEN` bytes from the mapping's beginning, and it is longer than that.
        let base = unsafe { whole.add(head_len) };
        // SAFETY: the mapping has `len + HUGE_LEN` bytes, and `head_len` is less than the latter.
        let behind = unsafe { base.add(len) };
        // SAFETY: the head of the mapping just made, up to a boundary of pages; nobody knows it.
        unsafe { Self::unmap(whole, head_len) };
        // SAFETY: its tail, from a boundary of pages on.
        unsafe { Self::unmap(behind, HUGE_LEN - head_len) };
        Ok(base)
    }

    /// Gives a mapping, or a part of one, back to the system.
    ///
    /// # Safety
    /// `base` and `len` must be a range that [`Region::map`] has mapped, in whole pages, and nobody may use it any more.
    #[cfg(not(miri))]
    unsafe fn unmap(base: NonNull<u8>, len: usize) {
        if len > 0 {
            // SAFETY: mapped and unused, by this function's contract.
            let unmapped = unsafe { nix::sys::mman::munmap(base.cast(), len) };
            debug_assert!(unmapped.is_ok());
        }
    }

    /// Allocates `len` zeroed bytes.
    ///
    /// # Errors
    /// When there is no memory.
    #[cfg(miri)]
    pub fn reserve(len: usize, _backing: Backing) -> io::Result<Self> {
        let layout = Self::layout(len);
        // SAFETY: `layout` has a size greater than zero, by its constructor.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        NonNull::new(base)
            .map(|base| Self { base, len, mapped_len: len })
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
    }

    #[cfg(miri)]
    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len.max(1), 4096).expect("a region is smaller than the address space")
    }

    /// Its first byte.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a region has at least a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        #[cfg(not(miri))]
        // SAFETY: exactly what `reserve` has mapped and kept; whoever borrowed from it also borrowed `self`.
        unsafe {
            Self::unmap(self.base, self.mapped_len);
        }
        #[cfg(miri)]
        // SAFETY: allocated by `reserve` with this layout.
        unsafe {
            std::alloc::dealloc(self.base.as_ptr(), Self::layout(self.len));
        }
    }
}

/// Bytes in a page of the system: 4096 on most, 16 or 64 KiB on some (aarch64, ppc64). What is given back to it goes in whole ones.
#[must_use]
pub fn page_len() -> usize {
    static PAGE_LEN: OnceLock<usize> = OnceLock::new();
    *PAGE_LEN.get_or_init(|| {
        let asked = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        asked.and_then(|len| usize::try_from(len).ok()).expect("a system knows how long its pages are")
    })
}

/// A huge page. Where they are larger, regions do without.
const HUGE_LEN: usize = 2 << 20;

/// Types for which zeroed memory is a value, and which may be shared between threads as they lie there.
///
/// # Safety
/// All bytes zero must be a valid value; the type must be made of atomics, which may change while they are shared, also to zero; it
/// must need no drop; its alignment must divide 4096.
pub unsafe trait Zeroed: Sync {}

/// A fixed array in a region of its own, all zero at first. Resident only where it has been written.
#[derive(Debug)]
pub struct ZeroedArray<T: Zeroed> {
    region: Region,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Zeroed> ZeroedArray<T> {
    /// Reserves room for `len` values.
    ///
    /// # Errors
    /// As [`Region::reserve`].
    pub fn reserve(len: usize, backing: Backing) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.max(1);
        Ok(Self { region: Region::reserve(bytes, backing)?, len, of: PhantomData })
    }
}

impl<T: Zeroed> ZeroedArray<T> {
    /// Has the memory of some values given back: they are zero then, whoever looks, if it says that it was.
    ///
    /// # Panics
    /// When they are not in whole pages of the system.
    pub fn let_go(&self, from: usize, count: usize) -> bool {
        self.region.let_go(from * size_of::<T>(), count * size_of::<T>())
    }

    /// [`Region::allow_huge`].
    pub fn allow_huge(&self, allowed: bool) {
        self.region.allow_huge(allowed);
    }
}

impl<T: Zeroed> Deref for ZeroedArray<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the region holds `len` values by `reserve`, page-aligned, valid when zero and `Sync` by `Zeroed`;
        // nobody has a mutable reference into it, since this is the only way in.
        unsafe { std::slice::from_raw_parts(self.region.base().cast::<T>().as_ptr(), self.len) }
    }
}

/// Lets go of the code that has been run so far; what is run again comes back, from the file or the system's cache of it. At the start most
/// of a program is touched once and never again: reading options, looking up names, making ready for TLS. One and a half
/// megabytes less are resident afterwards.
pub fn let_code_go() {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let mut file = None;
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap_or_default().lines() {
            if let Some(mapped) = mapped_file(line) {
                file = mapped;
            } else if line.strip_prefix("Anonymous:").is_some_and(|len| len.trim() == "0 kB")
                && let Some((begin, end)) = file
            {
                // SAFETY: a mapping of a file that may not be written, and of which nothing has been (the linker writes to some before it
                // makes them so): each of these pages is as it is in the file, and is read from there again when it is next touched.
                // That it may fail is no harm.
                let _ = unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
            }
        }
    }
}

/// Where a mapping begins and ends if it is of a file and may only be read or executed; none if the line does not begin a mapping.
#[cfg(all(target_os = "linux", not(miri)))]
fn mapped_file(line: &str) -> Option<Option<(usize, usize)>> {
    let mut fields = line.split_ascii_whitespace();
    let (begin, end) = fields.next()?.split_once('-')?;
    let (begin, end) = (usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let constant = matches!(fields.next(), Some("r-xp" | "r--p"));
    Some((constant && fields.nth(3).is_some_and(|file| file.starts_with('/'))).then_some((begin, end)))
}

/// Asks the processor to fetch the cache line at `address`. A hint: any address will do, nothing is read.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing and never faults, whatever the address; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    // SAFETY: an atomic integer is valid when zero, needs no drop and is aligned to 8.
    unsafe impl Zeroed for AtomicU64 {}

    #[test]
    fn a_region_of_huge_pages_begins_with_one_and_is_all_there() {
        for backing in [Backing::Huge, Backing::HugeLater] {
            for len in [1, HUGE_LEN - 1, HUGE_LEN, 3 * HUGE_LEN + 4096] {
                let array =
                    ZeroedArray::<AtomicU64>::reserve(len.div_ceil(8), backing).expect("megabytes can be mapped");
                assert_eq!(array.region.base().addr().get() % HUGE_LEN, 0);
                for at in [0, array.len() / 2, array.len() - 1] {
                    array[at].store(1, Ordering::Relaxed);
                }
            }
        }
    }

    #[test]
    fn a_part_of_a_region_is_given_back_in_whole_pages_of_the_system_and_its_neighbours_stay() {
        let page_len = page_len();
        let words = page_len / 8;
        let array = ZeroedArray::<AtomicU64>::reserve(3 * words, Backing::Small).expect("three pages can be mapped");
        array.iter().for_each(|word| word.store(7, Ordering::Relaxed));
        array.region.let_go(page_len, page_len);
        let is = |word: &AtomicU64, value| word.load(Ordering::Relaxed) == value;
        assert!(array[..words].iter().chain(&array[2 * words..]).all(|word| is(word, 7)));
        assert!(cfg!(miri) || array[words..2 * words].iter().all(|word| is(word, 0)));
        for (offset, len) in [(0, page_len / 2), (page_len / 2, page_len), (2 * page_len, 2 * page_len)] {
            let refused = std::panic::catch_unwind(|| array.region.let_go(offset, len));
            assert!(refused.is_err(), "{len} bytes at {offset}");
        }
    }

    #[test]
    fn an_array_is_zero_and_keeps_what_is_written() {
        let array = ZeroedArray::<AtomicU64>::reserve(1000, Backing::Small).expect("a page can be mapped");
        assert!(array.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        array[999].store(7, Ordering::Relaxed);
        assert_eq!(array[999].load(Ordering::Relaxed), 7);
        assert_eq!(array.len(), 1000);
        prefetch(std::ptr::from_ref(&array[0]).cast());
    }
}
