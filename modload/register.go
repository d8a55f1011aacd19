package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The kernel's files that the daemon writes to. See Documentation/admin-guide/sysctl/kernel.rst and
// Documentation/driver-api/firmware/fw_search_path.rst.
const (
	modprobeFile = "/proc/sys/kernel/modprobe"
	firmwareFile = "/sys/module/firmware_class/parameters/path"
)

// KernelProgram is what the daemon registers for the kernel's own requests: a link to the program. It is short enough for
// the kernel (255 bytes), stays the same when the program's path changes, and is known for kudev's own whoever reads it,
// after a crash and from another version. The kernel calls it as "/run/kudev/modprobe -q -- NAME".
const KernelProgram = RunDir + "/modprobe"

// ErrNotRegistered is the error of [Claim.Register] where registering is not for this process.
var ErrNotRegistered = errors.New("not registered for the kernel's requests")

// Register makes the kernel's own requests come to kudev, and gives the kernel the firmware path. Neither is namespaced,
// so it is done in the initial namespaces only, and where the kernel has the file at all; elsewhere the error satisfies
// errors.Is(err, [ErrNotRegistered]) and says why, and the daemon can go on. What was there before is kept in the record.
func (h *Claim) Register() error {
	c := h.cfg
	if err := c.initialNamespaces(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	return errors.Join(h.registerFirmware(), h.registerProgram())
}

// Registered reports whether the kernel's own requests come to kudev through this claim.
func (h *Claim) Registered() bool {
	current, err := h.cfg.readKernel(modprobeFile)
	return err == nil && current == KernelProgram
}

func (h *Claim) registerProgram() error {
	c := h.cfg
	if c.KernelRequests() == "off" {
		if err := h.giveBack(modprobeFile); err != nil { // a killed predecessor's
			return err
		}
		return fmt.Errorf("%w: kernel_requests is off (%s)", ErrNotRegistered, c.setting("kernel_requests").Origin)
	}
	current, err := c.readKernel(modprobeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this kernel has no modules, and makes no requests
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	if current == "" && c.KernelRequests() != "on" {
		return fmt.Errorf("%w: %s is empty, that is, switched off: kernel_requests = on overrides it", ErrNotRegistered, modprobeFile)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	if err := replaceLink(program, c.Path(KernelProgram)); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	if err := c.seenByInit(c.Path(KernelProgram), program); err != nil {
		os.Remove(c.Path(KernelProgram))
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	if err := h.takeKernel(modprobeFile, current, KernelProgram); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRegistered, err)
	}
	return nil
}

// registerFirmware tells the kernel the firmware path. One that only follows from the root gives way to one that someone
// else has set; one that is configured does not.
func (h *Claim) registerFirmware() error {
	c := h.cfg
	path := c.FirmwarePath()
	current, err := c.readKernel(firmwareFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without a firmware loader
	}
	if err != nil {
		return fmt.Errorf("firmware path: %w", err)
	}
	before, ours := h.record.Before[firmwareFile]
	ours = ours && before.Ours == current
	if path == "" || current != "" && !ours && c.setting("firmware_path").Origin.Source == SourceDerived {
		if ours {
			return h.giveBack(firmwareFile)
		}
		return nil
	}
	if err := h.takeKernel(firmwareFile, current, path); err != nil {
		return fmt.Errorf("firmware path: %w", err)
	}
	return nil
}

// takeKernel writes ours to one of the kernel's files, after it has written down in the record what stands there. When
// that is a dead predecessor's own value, what the predecessor had written down stays.
func (h *Claim) takeKernel(file, current, ours string) error {
	before := taken{Ours: ours, Theirs: current}
	if old, ok := h.record.Before[file]; ok && (current == old.Ours || current == ours) {
		before.Theirs = old.Theirs
	}
	if file == modprobeFile && before.Theirs == KernelProgram { // the record was lost
		before.Theirs = "/sbin/modprobe"
	}
	if h.record.Before == nil {
		h.record.Before = map[string]taken{}
	}
	h.record.Before[file] = before
	if err := h.record.write(&h.cfg.options); err != nil { // first: a crash between the two must not lose it
		return err
	}
	return h.cfg.writeKernel(file, ours)
}

// giveBack writes what was there before any kudev, unless someone else has written since.
// It is not written back to the record: what is in the kernel decides.
func (h *Claim) giveBack(file string) error {
	before, ok := h.record.Before[file]
	if !ok {
		return nil
	}
	current, err := h.cfg.readKernel(file)
	if err == nil && current == before.Ours {
		err = h.cfg.writeKernel(file, before.Theirs)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", file, err)
	}
	delete(h.record.Before, file)
	return nil
}

func (h *Claim) restore() error {
	return errors.Join(h.giveBack(modprobeFile), h.giveBack(firmwareFile))
}

func (c *Config) readKernel(file string) (string, error) {
	data, err := os.ReadFile(c.Path(file))
	return strings.TrimRight(string(data), "\n\x00"), err
}

// writeKernel writes a value. An empty one is a newline for a sysctl and a NUL for a module's parameter, because a write
// of nothing does not reach the kernel. Kernel: kernel/sysctl.c, proc_dostring; kernel/params.c, param_set_copystring.
func (c *Config) writeKernel(file, value string) error {
	data := value
	switch {
	case file == modprobeFile:
		data += "\n"
	case value == "":
		data = "\x00"
	}
	f, err := os.OpenFile(c.Path(file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	return errors.Join(err, f.Close())
}

// replaceLink makes name a link to target, in one step.
func replaceLink(target, name string) error {
	if old, err := os.Readlink(name); err == nil && old == target {
		return nil
	}
	fresh := name + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, name)
}

// initialNamespaces returns why this process is not in the machine's first user and PID namespaces, or nil. Their inode
// numbers are fixed: include/linux/proc_ns.h. A kernel built without a kind of namespace has no such file, and only one.
// The mount namespace's number is fixed only in newer kernels, and what counts is not the number but whether the path that
// is registered leads init to the same file: seenByInit.
func (c *Config) initialNamespaces() error {
	for _, ns := range []struct{ name, initial string }{{"user", "user:[4026531837]"}, {"pid", "pid:[4026531836]"}} {
		link, err := os.Readlink(c.Path("/proc/self/ns/" + ns.name))
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(c.Path("/proc/self/ns")); err != nil {
				return fmt.Errorf("cannot tell the namespaces: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot tell the namespaces: %w", err)
		}
		if link != ns.initial {
			return fmt.Errorf("in a %s namespace of its own (%s)", ns.name, link)
		}
	}
	return nil
}

// seenByInit returns why one of paths does not lead init, whose mount namespace and root directory the kernel's helpers
// get, to the very file that it leads this process to. Kernel: kernel/umh.c.
func (c *Config) seenByInit(paths ...string) error {
	for _, path := range paths {
		here, err := os.Lstat(path) // a link's target is one of the paths: in /proc/1/root it would lead out again
		if err != nil {
			return err
		}
		there, err := os.Lstat(filepath.Join(c.Path("/proc/1/root"), path))
		if err != nil || !os.SameFile(here, there) {
			return fmt.Errorf("init sees another file at %s: a mount namespace or a root directory of its own", path)
		}
	}
	return nil
}
