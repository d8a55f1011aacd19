package modload

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An InsertError is the kernel's refusal of a module. It wraps the kernel's error number: errors.Is(err, unix.ENODEV) tells that the
// driver has found nothing to drive, which is no failure of the loading.
type InsertError struct {
	Module string
	Path   string
	Cause  string // why, in words, as far as the file and the kernel tell
	Err    error
}

func (e *InsertError) Error() string {
	return fmt.Sprintf("insert %s: kernel refused it: %s", e.Module, e.Cause)
}

func (e *InsertError) Unwrap() error { return e.Err }

// elfMachines are the ELF machine numbers of modules for a kernel whose uname(2) says name; nil where that is not known. See elf(5).
func elfMachines(name string) []uint16 {
	switch {
	case strings.HasPrefix(name, "arm"):
		return []uint16{40}
	case strings.HasPrefix(name, "riscv"):
		return []uint16{243}
	case len(name) == 4 && name[0] == 'i' && name[2:] == "86":
		return []uint16{3}
	}
	return map[string][]uint16{
		"x86_64": {62}, "aarch64": {183}, "ppc64": {21}, "ppc64le": {21}, "ppc": {20}, "s390x": {22}, "mips": {8}, "mips64": {8},
		"loongarch64": {258}, "sparc64": {43, 18}, "parisc": {15}, "parisc64": {15},
	}[name]
}

func machineNames() map[uint16]string {
	return map[uint16]string{
		3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 43: "sparc64", 62: "x86_64", 183: "aarch64", 243: "riscv",
		258: "loongarch64",
	}
}

// explain turns the kernel's error number into its cause: from the module's file, m, which is nil when it cannot be read for the reason damage,
// and from what the kernel shows.
func explain(err error, m *Module, damage error, e Evidence) string {
	said := func(parts ...string) string {
		for _, line := range slices.Backward(e.Log) {
			for _, p := range parts {
				if strings.Contains(line, p) {
					return line
				}
			}
		}
		return ""
	}
	var vermagic string
	signed := false
	if m != nil {
		if info, err := m.Info(); err == nil {
			vermagic = info.Get("vermagic")
		}
		_, signed = m.Signature()
	}
	release, _, _ := strings.Cut(vermagic, " ")
	switch {
	case errors.Is(err, unix.ENOEXEC):
		if want := elfMachines(e.Machine); m != nil && len(want) > 0 && !slices.Contains(want, m.machine) {
			name := machineNames()[m.machine]
			if name == "" {
				name = fmt.Sprintf("ELF machine %d", m.machine)
			}
			return fmt.Sprintf("built for %s, running is %s", name, e.Machine)
		}
		if m == nil {
			return "not a kernel module: " + cause(damage).Error()
		}
		if release != "" && e.Release != "" && release != e.Release {
			return fmt.Sprintf("built for %s, running is %s", release, e.Release)
		}
		if line := said("version magic", "disagrees about version", "no symbol version", "module_layout", "Unknown rela", "overflow in relocation"); line != "" {
			return line
		}
		if vermagic != "" {
			return fmt.Sprintf("invalid module format (its vermagic is %q)", strings.TrimSpace(vermagic))
		}
	case errors.Is(err, unix.ENOENT):
		if line := said("Unknown symbol", "unknown parameter"); line != "" {
			return line
		}
		return "unknown symbol in module, or unknown parameter (see dmesg)"
	case errors.Is(err, unix.EINVAL):
		if m == nil {
			return "not a kernel module: " + cause(damage).Error()
		}
		line := said("Unknown symbol", "disagrees about version", "invalid for parameter", "parameter")
		if symbol, ok := strings.CutPrefix(line, "Unknown symbol "); ok { // the line before says more
			symbol, _, _ = strings.Cut(symbol, " ")
			line = cmp.Or(said("disagrees about version of symbol "+symbol), line)
		}
		if line != "" {
			return line
		}
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENOKEY):
		const enforced = "the kernel takes only signed modules (module.sig_enforce)"
		demand := "the kernel asks for a signature"
		if e.Enforced {
			demand = enforced
		}
		switch {
		case !signed:
			return "it is not signed, and " + demand
		case said("unsigned module") != "": // so the kernel calls one that is to be forced
			return "what is forced counts as not signed, and " + demand
		case said("unavailable key") != "":
			return "it is signed with a key that the kernel does not trust, and " + demand
		case !e.Enforced || e.Log != nil: // without that, a key that is not known would do; else the kernel would have said so
			return "its signature is not that of its content: it was changed after it was signed"
		}
		return "its signature is not that of its content, or of a key that the kernel does not trust; " + demand
	case errors.Is(err, unix.EBADMSG):
		return "its signature is damaged"
	case errors.Is(err, unix.EPERM):
		switch {
		case e.Disabled:
			return "loading has ended for good (kernel.modules_disabled)"
		case e.Lockdown != "" && e.Lockdown != "none" && !signed:
			return "it is not signed, and the kernel is locked down (" + e.Lockdown + ")"
		case e.Lockdown != "" && e.Lockdown != "none":
			return "it is forced, or signed with a key that the kernel does not trust, and the kernel is locked down (" + e.Lockdown + ")"
		}
		return "operation not permitted (loading needs CAP_SYS_MODULE)"
	case errors.Is(err, unix.ENOSYS):
		return "this kernel cannot load modules"
	case errors.Is(err, unix.EEXIST):
		return "Module already in kernel"
	case errors.Is(err, unix.ENODEV):
		return "no such device: the driver found nothing to drive"
	}
	text := err.Error()
	if errno := unix.Errno(0); errors.As(err, &errno) {
		text = errno.Error()
	}
	if len(e.Log) > 0 {
		text += fmt.Sprintf(" (the kernel said: %s)", e.Log[len(e.Log)-1])
	}
	return text
}

// stripForced takes out of a module's image what the kernel would compare: the vermagic, or the versions of symbols. The image is changed
// in place.
func stripForced(image []byte, flags InsertFlags) error {
	m, err := ParseModule(image)
	if err != nil {
		return err
	}
	if flags&IgnoreVermagic != 0 {
		info, err := m.Section(".modinfo")
		if err != nil {
			return err
		}
		for line := range zeroTerminated(info) {
			if strings.HasPrefix(string(line), "vermagic=") {
				clear(line) // it lies within image
				break
			}
		}
	}
	if flags&IgnoreModversions != 0 {
		if s, ok := m.find("__versions"); ok {
			for i := range m.sections[1:] {
				if m.sections[i+1] == s {
					return m.hideSection(image, i+1)
				}
			}
		}
	}
	return nil
}

// hideSection takes the flag "allocated" from a section: the kernel then does not look into it.
func (m *Module) hideSection(image []byte, index int) error {
	const alloc = 2 // SHF_ALLOC
	header, entry := uint64(0), uint64(40)
	if m.wide {
		header, entry = m.word(image[40:]), 64
	} else {
		header = m.word(image[32:])
	}
	at := header + uint64(index)*entry + 8 // sh_flags; its low byte is at the front or at the back
	low := at
	if m.big {
		low = at + 3
		if m.wide {
			low = at + 7
		}
	}
	if low >= uint64(len(image)) {
		return errNoTable
	}
	image[low] &^= alloc
	return nil
}
