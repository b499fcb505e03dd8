// Package volumetest is for tests of what a power cut leaves of our files: a file
// system on a loop device, whose power can be cut.
package volumetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What ext4 is told to forget all that it has not written to its device, its
// journal too: the power is cut (EXT4_IOC_SHUTDOWN of ext4.h).
const (
	ext4Shutdown   = 0x8004587d // _IOR('X', 125, __u32)
	ext4NoLogFlush = 2
)

// Volume is a file system of its own in a file, whose power can be cut.
type Volume struct {
	// Dir is where it is mounted.
	Dir   string
	t     testing.TB
	image string
}

// Need makes one for the length of the test. That takes root, and is skipped loudly without.
func Need(t testing.TB) *Volume {
	t.Helper()
	_, err := exec.LookPath("mkfs.ext4")
	switch {
	case os.Geteuid() == 0 && err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("CI must cut the power: it needs root and mkfs.ext4 (%v)", err)
	default:
		sentence := fmt.Sprintf("%s NOT TESTED: a power cut needs root and mkfs.ext4 (%v)", t.Name(), err)
		fmt.Fprintln(os.Stderr, "\n***", sentence)
		t.Skip(sentence)
	}
	dir := t.TempDir()
	v := &Volume{t: t, image: filepath.Join(dir, "image"), Dir: filepath.Join(dir, "mount")}
	for _, step := range []error{
		os.WriteFile(v.image, nil, 0o600), os.Truncate(v.image, 512<<20), os.Mkdir(v.Dir, 0o700), v.run("mkfs.ext4", "-q", "-F", v.image),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	v.plug()
	t.Cleanup(func() { v.run("umount", v.Dir) })
	return v
}

func (v *Volume) run(command ...string) error {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return errors.New(command[0] + ": " + err.Error() + ": " + string(out))
	}
	return nil
}

// plug mounts the file system; its journal is replayed.
func (v *Volume) plug() {
	v.t.Helper()
	if err := v.run("mount", "-o", "loop", v.image, v.Dir); err != nil {
		v.t.Fatal(err)
	}
}

// Cut takes the power away. Nothing can be read or written until Restore.
func (v *Volume) Cut() {
	v.t.Helper()
	f, err := os.Open(v.Dir)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, ext4NoLogFlush); err != nil {
		v.t.Fatal(err)
	}
}

// Restore brings the power back, when nobody has a file open any more: what the
// journal holds is replayed, what was not written is gone.
func (v *Volume) Restore() {
	v.t.Helper()
	if err := v.run("umount", v.Dir); err != nil {
		v.t.Fatal(err)
	}
	v.plug()
}

// Break makes it read-only, as ext4 does after an error of its device, until
// Restore.
func (v *Volume) Break() {
	v.t.Helper()
	// A usual remount is refused while files are open for writing.
	if err := v.run("mount", "-o", "remount,abort", v.Dir); err != nil {
		v.t.Fatal(err)
	}
}
