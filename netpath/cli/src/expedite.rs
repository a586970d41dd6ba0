//! `--expedite`.

use netpath::expedite::Expedited;

use super::Failure;

/// Arguments of commands that wait for the kernel.
#[derive(Debug, clap::Args)]
pub struct ExpediteArgs {
    /// Have the kernel expedite its grace periods meanwhile: several times faster, and the machine's other processors are
    /// interrupted more often [default: of lab nodes]
    #[arg(long)]
    expedite: bool,
}

impl ExpediteArgs {
    /// As long as what is returned lives.
    pub(super) fn begin(&self) -> Result<Option<Expedited>, Failure> {
        let begun = self.expedite.then(Expedited::begin).transpose();
        Ok(begun?)
    }
}
