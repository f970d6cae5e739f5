//! A layer with an entry of every kind, the refused ones included.

/// The archive, with `content` in its one regular file.
pub fn hostile_layer(content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: u8, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_device_major(1).expect("a number that fits");
        header.set_device_minor(3).expect("a number that fits");
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).expect("memory takes any entry");
    };
    append("d/", b'5', "", b"");
    append("d/file", b'0', "", content);
    append("d/hard", b'1', "d/file", b"");
    append("link", b'2', "d", b"");
    append("link/below", b'0', "", b"x");
    append("null", b'3', "", b"");
    append("disk", b'4', "", b"");
    append("pipe", b'6', "", b"");
    append(
        "PaxHeaders/p",
        b'x',
        "",
        b"12 path=d/p\n13 mtime=1.5\n41 SCHILY.xattr.security.capability=abcd\n",
    );
    append("p", b'0', "", b"y");
    append("././@LongLink", b'L', "", b"d/long\0");
    append("l", b'0', "", b"z");
    append("d/.wh.gone", b'0', "", b"");
    append("d/.wh..wh..opq", b'0', "", b"");
    builder.into_inner().expect("memory takes any archive")
}
