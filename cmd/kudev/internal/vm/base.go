package vm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What no QEMU device needs and is large; an entry that begins with '!' keeps what one above it left out. Paths are below
// the tree's kernel/. With these gone the modules take 160 MB of the guest's memory instead of 390.
var pruned = []string{
	"drivers/gpu/drm/amd", "drivers/gpu/drm/i915", "drivers/gpu/drm/nouveau", "drivers/gpu/drm/radeon",
	"drivers/net/wireless", "drivers/net/ethernet",
	"!drivers/net/ethernet/intel/e1000", "!drivers/net/ethernet/intel/e1000e", "!drivers/net/ethernet/realtek", "!drivers/net/ethernet/amd",
	"drivers/media", "!drivers/media/mc", // snd-usb-audio needs it
	"drivers/infiniband", "drivers/staging", "drivers/iio", "drivers/comedi", "drivers/isdn", "drivers/scsi/lpfc", "drivers/scsi/qla2xxx", "drivers/scsi/bfa",
	"sound/soc", "net/wireless", "net/mac80211",
	"fs/ocfs2", "fs/gfs2", "fs/ceph", "fs/nfs", "fs/nfsd", "fs/smb",
}

// applets of busybox that are what the guest must not have: module tools and device managers of another make.
var noApplets = map[string]bool{"modprobe": true, "insmod": true, "rmmod": true, "lsmod": true, "modinfo": true, "depmod": true, "mdev": true, "uevent": true, "init": true, "linuxrc": true}

// base returns the archive that every guest begins with, made when the cache has none for this kernel and this list.
func (d *Debian) base(ctx context.Context) (string, error) {
	dir, err := d.kept()
	if err != nil {
		return "", err
	}
	busybox, err := d.Package("busybox-static")
	if err != nil {
		return "", err
	}
	key := sha256.New()
	fmt.Fprintln(key, d.release, pruned, noApplets, "3") // the number goes up when this file makes something else of the same
	for _, f := range []string{d.Kernel(), filepath.Join(busybox, "bin/busybox")} {
		info, err := os.Stat(f)
		if err != nil {
			return "", fmt.Errorf("make the base archive: %w: run `make packages`", err)
		}
		fmt.Fprintln(key, info.Size(), info.ModTime().UnixNano())
	}
	archive := filepath.Join(dir, fmt.Sprintf("base-%x.cpio", key.Sum(nil)[:8]))

	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", dir, err)
	}
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	old, _ := filepath.Glob(filepath.Join(dir, "base-*.cpio")) // of another kernel or list: 200 MB each
	for _, f := range old {
		os.Remove(f)
	}
	if err := d.makeBase(ctx, archive, filepath.Join(busybox, "bin/busybox")); err != nil {
		return "", fmt.Errorf("make the base archive: %w", err)
	}
	return archive, nil
}

func (d *Debian) makeBase(ctx context.Context, archive, busybox string) error {
	root := NewTree()
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "mnt", "etc", "root", "lib/firmware"} {
		root.Dir(dir, 0o755)
	}
	root.Copy("/bin/busybox", busybox, 0o755)
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("ask busybox for its applets: %w", err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if !noApplets[a] && a != "busybox" {
			root.Symlink("/bin/"+a, "busybox")
		}
	}
	root.File("/etc/passwd", passwd, 0o644)
	root.File("/etc/group", group, 0o644)

	tree, err := os.MkdirTemp(filepath.Dir(d.dir), ".modules-") // beside the packages: hard links do not cross file systems
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := d.linkModules(ctx, tree); err != nil {
		return err
	}
	if err := root.CopyAll("/lib/modules/"+d.release, filepath.Join(tree, "lib/modules", d.release), nil); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(archive), ".base-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := root.Write(tmp); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), archive)
}

// linkModules makes a module tree of hard links in dir, without the pruned families and with an index of its own: a
// guest's tree names no file that is not there.
func (d *Debian) linkModules(ctx context.Context, dir string) error {
	to := filepath.Join(dir, "lib/modules", d.release)
	all := NewTree()
	if err := all.CopyAll("", filepath.Join(d.Modules(), "kernel"), nil); err != nil {
		return err
	}
	for name, e := range all.entries {
		if e.host == "" || isPruned(name) {
			continue
		}
		file := filepath.Join(to, "kernel", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.Link(e.host, file); err != nil {
			return err
		}
	}
	for _, f := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		if err := os.Link(filepath.Join(d.Modules(), f), filepath.Join(to, f)); err != nil {
			return err
		}
	}
	kmod, err := d.Package("kmod")
	if err != nil {
		return err
	}
	depmod := exec.CommandContext(ctx, filepath.Join(kmod, "bin/depmod"), "-b", dir, d.release)
	depmod.Env = append(os.Environ(), "LD_LIBRARY_PATH="+d.libraryPath())
	if out, err := depmod.CombinedOutput(); err != nil {
		return fmt.Errorf("index the modules: %w: %s", err, out)
	}
	return nil
}

func isPruned(name string) bool {
	out := false
	for _, p := range pruned {
		keep := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(p, "!")
		if name == p || strings.HasPrefix(name, p+"/") {
			out = !keep
		}
	}
	return out
}

// The users and groups that Debian's rules name, with Debian's numbers where it has fixed ones.
const passwd = `root:x:0:0:root:/root:/bin/sh
tss:x:101:101::/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
`

const group = `root:x:0:
tty:x:5:
disk:x:6:
lp:x:7:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
audio:x:29:
video:x:44:
plugdev:x:46:
tss:x:101:
input:x:102:
sgx:x:103:
kvm:x:104:
render:x:105:
nogroup:x:65534:
`
