//! stub until the persist helper's lands
use crate::base::env::{Disk, DiskFile};
use std::io;
use std::path::{Path, PathBuf};
/// stub
#[derive(Debug, Default)]
pub struct SystemDisk;
fn no<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}
impl Disk for SystemDisk {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        no()
    }
    fn open_append(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        no()
    }
    fn open_read(&self, p: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(std::fs::File::open(p)?))
    }
    fn len(&self, p: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(p)?.len())
    }
    fn exists(&self, p: &Path) -> bool {
        p.exists()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        no()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        no()
    }
}
