package modload

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Kernel is what a [Loader] asks of the kernel. [NewKernel] is the real one, modloadtest.Kernel one for tests. Every method may be
// called by any number of goroutines at once. An error of Insert, InsertImage and Remove is or wraps a unix.Errno.
type Kernel interface {
	// State says where a module stands.
	State(module string) ModuleState

	// Insert hands the kernel a module's file; parameters are as on insmod's command line. It returns when the module's init has.
	Insert(file *os.File, parameters string, flags InsertFlags) error

	// InsertImage hands the kernel a module in memory, decompressed.
	InsertImage(image []byte, parameters string) error

	// Remove takes a module out of the kernel, without waiting until nobody uses it: EWOULDBLOCK then.
	Remove(module string, force bool) error

	// Users returns how often a module is in use, and the modules among its users.
	Users(module string) (count int, holders []string, err error)

	// Compression returns the one format that Insert takes besides plain files, as the kernel spells it: gzip, xz, zstd; "" is none.
	Compression() string
}

// ModuleState is where a module stands in the kernel, as the kernel spells it.
type ModuleState = string

const (
	ModuleAbsent ModuleState = ""
	ModuleComing ModuleState = "coming" // its init is running, or somebody has just begun to load it
	ModuleLive   ModuleState = "live"   // in use, or ready for it
	ModuleGoing  ModuleState = "going"  // its exit is running
)

// InsertFlags are those of finit_module(2).
type InsertFlags = int

const (
	IgnoreModversions InsertFlags = unix.MODULE_INIT_IGNORE_MODVERSIONS // the versions of symbols do not matter
	IgnoreVermagic    InsertFlags = unix.MODULE_INIT_IGNORE_VERMAGIC    // nor for which kernel it was built
	CompressedFile    InsertFlags = 4                                   // the kernel is to decompress it
)

// An evidencer is a [Kernel] that can tell more than an error number. Attend is called before a module is handed over, and what it returns
// when the kernel has answered: with the names that the module may have in messages, after a refusal, it tells why; with none it tells nothing.
type evidencer interface {
	Attend() (end func(names ...string) Evidence)
}

// Evidence is what the kernel shows of the reasons for which it refuses a module.
type Evidence struct {
	Release  string   // of the running kernel
	Machine  string   // as uname(2) has it
	Lockdown string   // none, integrity or confidentiality
	Enforced bool     // only signed modules are taken: module.sig_enforce
	Disabled bool     // kernel.modules_disabled is set
	Log      []string // what the kernel said meanwhile that begins with the module's name, without it, or with "Loading of "; nil when it cannot be read
}

// NewKernel returns the running kernel. Of the configuration it takes where /sys and /proc are.
func NewKernel(cfg *Config) Kernel { return &realKernel{cfg: cfg} }

type realKernel struct{ cfg *Config }

func (k *realKernel) module(name string, file ...string) string {
	return filepath.Join(append([]string{k.cfg.Path("/sys/module"), name}, file...)...)
}

// State reads /sys/module/NAME/initstate. A directory without that file is a module that is just coming, or a part of the kernel with
// parameters: whoever tries to load it finds out.
func (k *realKernel) State(name string) ModuleState {
	var buf [16]byte
	n, err := readInto(k.module(name, "initstate"), buf[:])
	if err != nil {
		if _, err := os.Stat(k.module(name)); err == nil {
			return ModuleComing
		}
		return ModuleAbsent
	}
	switch string(bytes.TrimSpace(buf[:n])) {
	case "live":
		return ModuleLive
	case "going":
		return ModuleGoing
	}
	return ModuleComing
}

// readInto reads the beginning of a file of sysfs, without what os.Open does for files that may block.
func readInto(path string, buf []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.Read(fd, buf)
}

func (k *realKernel) Insert(file *os.File, parameters string, flags InsertFlags) error {
	p, err := unix.BytePtrFromString(parameters)
	if err != nil {
		return unix.EINVAL
	}
	fd := file.Fd()
	err = undisturbed(func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_FINIT_MODULE, fd, uintptr(unsafe.Pointer(p)), uintptr(flags))
		return errno
	})
	runtime.KeepAlive(file)
	return err
}

func (k *realKernel) InsertImage(image []byte, parameters string) error {
	p, err := unix.BytePtrFromString(parameters)
	if err != nil {
		return unix.EINVAL
	}
	if len(image) == 0 {
		return unix.ENOEXEC
	}
	return undisturbed(func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_INIT_MODULE, uintptr(unsafe.Pointer(unsafe.SliceData(image))), uintptr(len(image)), uintptr(unsafe.Pointer(p)))
		return errno
	})
}

func (k *realKernel) Remove(name string, force bool) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return unix.EINVAL
	}
	flags := unix.O_NONBLOCK
	if force {
		flags |= unix.O_TRUNC
	}
	return undisturbed(func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_DELETE_MODULE, uintptr(unsafe.Pointer(p)), uintptr(flags), 0)
		return errno
	})
}

// undisturbed makes a system call on a thread of its own with every signal blocked. A driver's probe waits in ways that a signal ends
// early, and takes that for a failure of the device; and Go's own runtime sends signals to its threads.
func undisturbed(call func() unix.Errno) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	errno := call()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func (k *realKernel) Users(name string) (count int, holders []string, err error) {
	text, err := os.ReadFile(k.module(name, "refcnt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel that cannot unload has none
		return 0, nil, err
	}
	count, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	dir, err := os.Open(k.module(name, "holders"))
	if errors.Is(err, fs.ErrNotExist) {
		return count, nil, nil
	} else if err != nil {
		return count, nil, err
	}
	defer dir.Close()
	holders, err = dir.Readdirnames(-1) // in the directory's own order, in which kmod lists them
	return count, holders, err
}

func (k *realKernel) Compression() string {
	var buf [16]byte
	n, err := readInto(k.module("compression"), buf[:])
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(buf[:n]))
}

// Attend looks at the kernel's log from here on: what it said of an earlier attempt is no evidence.
func (k *realKernel) Attend() func(names ...string) Evidence {
	log, err := unix.Open(k.cfg.Path("/dev/kmsg"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Seek(log, 0, unix.SEEK_END)
	}
	return func(names ...string) (e Evidence) {
		if log >= 0 {
			defer unix.Close(log)
		}
		if len(names) == 0 {
			return e
		}
		e = k.evidence()
		if err == nil {
			e.Log = kernelLog(log, names)
		}
		return e
	}
}

// evidence is what helps to tell why a module was refused, but for the log.
func (k *realKernel) evidence() Evidence {
	var e Evidence
	e.Release, e.Machine, _ = uname()
	read := func(path string) string {
		text, _ := os.ReadFile(k.cfg.Path(path))
		return strings.TrimSpace(string(text))
	}
	if _, after, ok := strings.Cut(read("/sys/kernel/security/lockdown"), "["); ok {
		e.Lockdown, _, _ = strings.Cut(after, "]")
	}
	e.Enforced = read("/sys/module/module/parameters/sig_enforce") == "Y"
	e.Disabled = read("/proc/sys/kernel/modules_disabled") == "1"
	return e
}

// uname asks the running kernel for its release, and for what it calls its architecture, such as "x86_64".
func uname() (release, machine string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", err
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]), nil
}

// kernelLog returns the last messages about a module of those that are to be read from /dev/kmsg, the latest last. Each read is one record:
// "PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT", and lines that begin with a blank.
// Kernel: Documentation/ABI/testing/dev-kmsg.
func kernelLog(kmsg int, names []string) []string {
	found := []string{}
	var buf [8192]byte  // the longest record
	for range 1 << 16 { // who floods the log meanwhile does not keep us here
		n, err := unix.Read(kmsg, buf[:])
		if err == unix.EPIPE || err == unix.EINTR { // records were overwritten: it goes on with the oldest that is there
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		if strings.HasPrefix(text, "Loading of ") { // "unsigned module is rejected": it names none
			found = append(found, text)
		} else if name, said, ok := strings.Cut(text, ": "); ok && slices.Contains(names, name) {
			found = append(found, said)
		}
	}
	return found[max(0, len(found)-8):]
}
