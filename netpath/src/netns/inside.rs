//! The proof that a thread is inside a namespace.

use std::{cell::OnceCell, fs::File, io, marker::PhantomData};

/// Says that the thread which holds it is inside the network namespace that is meant. What acts on the calling
/// thread's namespace asks for one, so that nobody calls it by accident where the thread happens to be.
///
/// It stays on the thread where it was made: it is neither `Send` nor `Sync`.
///
/// ```compile_fail,E0277
/// netpath::netns::Netns::current()?.enter(|inside| {
///     std::thread::scope(|scope| {
///         scope.spawn(|| netpath::sysctl::get(inside, "ipv4/ip_forward"));
///     });
/// })?;
/// # Ok::<(), netpath::netns::NetnsError>(())
/// ```
#[derive(Debug)]
pub struct Inside<'a> {
    /// `/proc/sys/net/ipv4` and `ipv6` of the namespace, once they were asked for. To find one by its path the kernel compares it
    /// with that of each namespace of the machine (`proc_sys_compare`), and what is below it with its own only.
    settings: [OnceCell<File>; 2],
    /// A raw pointer is neither `Send` nor `Sync`.
    _here: PhantomData<(&'a (), *const ())>,
}

impl Inside<'_> {
    /// For the calling thread, in whichever namespace it is: that of the process, unless somebody has moved the thread.
    /// It is for work on the machine's own namespace; whoever means another one says so with
    /// [`Netns::enter`](super::Netns::enter). A thread that moves to another namespace by itself makes it untrue.
    pub fn current() -> Self {
        Self {
            settings: Default::default(),
            _here: PhantomData,
        }
    }

    /// The directory below `/proc/sys/net` that this index stands for, opened once.
    pub(crate) fn settings(&self, index: usize, path: &str) -> io::Result<&File> {
        let place = &self.settings[index];
        match place.get() {
            Some(directory) => Ok(directory),
            None => {
                let directory = File::open(path)?;
                Ok(place.get_or_init(|| directory))
            }
        }
    }
}
