package queue

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Magic numbers of statfs(2) that golang.org/x/sys does not name.
const (
	cephMagic = 0x00c36400
	v9fsMagic = 0x01021997
)

// unfit names the file system at dir and what is wrong with keeping mail on
// it; "" when nothing is known to be. In memory nothing survives a reboot;
// over a network neither SQLite's locks nor its shared memory can be trusted.
func unfit(dir string) (name, trouble string, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", "", &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	const memory, network = "it is in memory, and a reboot would lose all mail", "it is on the network, where file locks and fsync cannot be relied on"
	switch uint32(st.Type) {
	case unix.TMPFS_MAGIC:
		return "tmpfs", memory, nil
	case unix.RAMFS_MAGIC:
		return "ramfs", memory, nil
	case unix.NFS_SUPER_MAGIC:
		return "NFS", network, nil
	case unix.CIFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "CIFS", network, nil
	case unix.AFS_SUPER_MAGIC:
		return "AFS", network, nil
	case cephMagic:
		return "CephFS", network, nil
	case v9fsMagic:
		return "9p", network, nil
	}
	return "", "", nil
}

// allocate makes f take that much space on the disk. Where the file system
// cannot be told to, zeros are written.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, size)
	}
	return err
}
