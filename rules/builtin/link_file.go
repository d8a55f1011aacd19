package builtin

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// LinkFile is one .link file with its drop-ins. See systemd.link(5).
type LinkFile struct {
	Path string
	// Match holds the lists of [Match], a negated entry with '!' in front; Link what [Link] assigns, the last value of
	// a single one. Values are as written.
	Match map[string][]string
	Link  map[string][]string
	// Functions are the virtual functions of a network card that [SR-IOV] sections set up.
	Functions []VirtualFunction
	// Drops are the drop-ins.
	Drops []string
	// Problems are the lines that do not count.
	Problems []LinkProblem

	assigned map[string]LinkProblem // where a key of [Link] got its value
}

// LinkProblem is a line that does not count.
type LinkProblem struct {
	Path    string
	Line    int
	Message string
}

func (p LinkProblem) String() string { return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Message) }

// problem says of a value of [Link] why it does not count, and where it stands.
func (f *LinkFile) problem(key, why string) string {
	p := f.assigned[key]
	p.Message = key + "=" + strings.Join(f.Link[key], " ") + ": " + why
	return p.String()
}

// matchKeys and linkKeys are what the sections may hold; lists collect all their assignments, and an empty one
// forgets those before it.
var matchKeys = []string{"MACAddress", "PermanentMACAddress", "OriginalName", "Path", "Driver", "Type", "Kind", "Property",
	"Host", "Virtualization", "KernelCommandLine", "KernelVersion", "Credential", "Architecture", "Firmware"}

var linkLists = []string{"NamePolicy", "AlternativeNamesPolicy", "AlternativeName", "Advertise", "WakeOnLan",
	"Property", "ImportProperty", "UnsetProperty", "ReceivePacketSteeringCPUMask"}

var linkKeys = []string{"Description", "MACAddressPolicy", "MACAddress", "NamePolicy", "Name", "AlternativeName", "AlternativeNamesPolicy",
	"Alias", "TransmitQueues", "ReceiveQueues", "TransmitQueueLength", "MTUBytes", "BitsPerSecond", "Duplex", "AutoNegotiation", "WakeOnLan",
	"WakeOnLanPassword", "Port", "Advertise", "ReceiveChecksumOffload", "TransmitChecksumOffload", "GenericSegmentationOffload",
	"TCPSegmentationOffload", "TCP6SegmentationOffload", "UDPSegmentationOffload", "GenericReceiveOffload", "GenericReceiveOffloadHardware",
	"LargeReceiveOffload", "ReceiveVLANCTAGHardwareAcceleration", "TransmitVLANCTAGHardwareAcceleration", "ReceiveVLANCTAGFilter",
	"TransmitVLANSTAGHardwareAcceleration", "NTupleFilter", "RxChannels", "TxChannels", "OtherChannels", "CombinedChannels", "RxBufferSize",
	"RxMiniBufferSize", "RxJumboBufferSize", "TxBufferSize", "RxFlowControl", "TxFlowControl", "AutoNegotiationFlowControl",
	"GenericSegmentOffloadMaxBytes", "GenericSegmentOffloadMaxSegments", "RxCoalesceSec", "RxMaxCoalescedFrames", "RxCoalesceIrqSec",
	"RxMaxCoalescedIrqFrames", "TxCoalesceSec", "TxMaxCoalescedFrames", "TxCoalesceIrqSec", "TxMaxCoalescedIrqFrames",
	"StatisticsBlockCoalesceSec", "UseAdaptiveRxCoalesce", "UseAdaptiveTxCoalesce", "CoalescePacketRateLow", "RxCoalesceLowSec",
	"RxMaxCoalescedLowFrames", "TxCoalesceLowSec", "TxMaxCoalescedLowFrames", "CoalescePacketRateHigh", "RxCoalesceHighSec",
	"RxMaxCoalescedHighFrames", "TxCoalesceHighSec", "TxMaxCoalescedHighFrames", "CoalescePacketRateSampleIntervalSec", "MDI",
	"SR-IOVVirtualFunctions", "Property", "ImportProperty", "UnsetProperty", "ReceivePacketSteeringCPUMask"}

// ParseLinkFile reads one file's text into f: the file itself, then its drop-ins in order.
func (f *LinkFile) Parse(path string, text []byte) {
	if f.Match == nil {
		f.Match, f.Link, f.assigned = map[string][]string{}, map[string][]string{}, map[string]LinkProblem{}
	}
	problem := func(line int, format string, args ...any) {
		f.Problems = append(f.Problems, LinkProblem{path, line, fmt.Sprintf(format, args...)})
	}
	section := ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	var joined string
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(lines.Text(), space)
		if line != "" && (line[0] == '#' || line[0] == ';') {
			continue
		}
		if joined != "" {
			line = joined + line
			joined = ""
		}
		if rest, ok := strings.CutSuffix(line, `\`); ok && strings.Count(line[len(strings.TrimRight(line, `\`)):], `\`)%2 == 1 {
			joined = rest + " "
			continue
		}
		line = strings.TrimRight(line, space)
		if line == "" {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			switch {
			case line[len(line)-1] != ']':
				problem(n, "a section's name without its end: %s", line)
				section = ""
			case section == "SR-IOV":
				f.Functions = append(f.Functions, VirtualFunction{Number: -1, VLANProtocol: unix.ETH_P_8021Q, at: LinkProblem{Path: path, Line: n}})
			case section != "Match" && section != "Link" && !strings.HasPrefix(section, "X-"):
				problem(n, "unknown section [%s]", section)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			problem(n, "not KEY=value: %s", line)
			continue
		}
		key, value = strings.TrimRight(key, space), strings.TrimLeft(value, space)
		switch section {
		case "Match":
			f.match(n, key, value, problem)
		case "Link":
			f.assigned[key] = LinkProblem{Path: path, Line: n}
			switch {
			case !slices.Contains(linkKeys, key):
				problem(n, "unknown key %s in [Link]", key)
			case key == "UDPSegmentationOffload":
				problem(n, "%s is no longer anything that a kernel has", key)
			case value == "":
				delete(f.Link, key)
			case slices.Contains(linkLists, key):
				f.Link[key] = append(f.Link[key], words(value)...)
			default:
				f.Link[key] = []string{value}
			}
		case "SR-IOV":
			if err := f.Functions[len(f.Functions)-1].assign(key, value); err != nil {
				problem(n, "%s=%s in [SR-IOV]: %v", key, value, err)
			}
		case "":
			problem(n, "an assignment outside of a section")
		}
	}
	if err := lines.Err(); err != nil {
		problem(0, "%v", err)
	}
}

func (f *LinkFile) match(n int, key, value string, problem func(int, string, ...any)) {
	switch {
	case !slices.Contains(matchKeys, key):
		problem(n, "unknown key %s in [Match]", key)
		return
	case value == "":
		delete(f.Match, key)
		return
	}
	rest, negated := strings.CutPrefix(value, "!")
	var list []string
	switch key {
	case "MACAddress", "PermanentMACAddress":
		for _, w := range words(value) {
			addr, err := parseMAC(w)
			if err != nil {
				problem(n, "%s is no hardware address", w)
				continue
			}
			list = append(list, hex.EncodeToString(addr))
		}
		f.Match[key] = append(f.Match[key], list...)
		return
	case "Host", "Virtualization", "KernelCommandLine", "KernelVersion", "Credential", "Architecture", "Firmware":
		list = []string{strings.TrimLeft(rest, space)}
	default:
		list = words(rest)
	}
	for _, w := range list {
		if key == "Property" && !strings.Contains(w, "=") {
			problem(n, "%s is not KEY=value", w)
			continue
		}
		if negated {
			w = "!" + w
		}
		f.Match[key] = append(f.Match[key], w)
	}
}

// words splits at blanks, but for what stands in quotation marks.
func words(s string) []string {
	var out []string
	var b strings.Builder
	in, have := byte(0), false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case in != 0 && c == in:
			in = 0
		case in == 0 && (c == '"' || c == '\''):
			in, have = c, true
		case in == 0 && isSpace(c):
			if have {
				out = append(out, b.String())
				b.Reset()
				have = false
			}
		default:
			if c == '\\' && i+1 < len(s) {
				i++
				c = s[i]
			}
			b.WriteByte(c)
			have = true
		}
	}
	if have {
		out = append(out, b.String())
	}
	return out
}

// parseMAC reads 6 or 20 bytes with ':' or '-' between them, or as three groups with '.'.
func parseMAC(s string) ([]byte, error) {
	sep := byte(':')
	for _, c := range []byte{':', '-', '.'} {
		if strings.IndexByte(s, c) >= 0 {
			sep = c
			break
		}
	}
	var out []byte
	for _, group := range strings.Split(s, string(sep)) {
		width := 2
		if sep == '.' {
			width = 4
		}
		if group == "" || len(group) > width {
			return nil, errors.New("not a hardware address")
		}
		b, err := hex.DecodeString(strings.Repeat("0", width-len(group)) + group)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	if len(out) != 6 && len(out) != 20 && len(out) != 4 && len(out) != 16 {
		return nil, errors.New("not a hardware address")
	}
	return out, nil
}

// Machine is what the conditions in [Match] ask about.
type Machine struct {
	Hostname, MachineID string
	Virtualization      string // "none", "kvm", "docker"…
	Container           bool   // which Virtualization names a container rather than a machine
	CommandLine         string // the kernel's
	Release             string // the kernel's
	Architecture        string // as systemd calls it: x86-64, arm64
	EFI                 bool
	Credential          func(name string) bool
}

// ReadMachine reads what can be read below root. The kernel's release and the virtualization are the caller's to add:
// without them, KernelVersion= and Virtualization= see none.
func ReadMachine(root, commandLine string) Machine {
	m := Machine{CommandLine: commandLine}
	m.Architecture = map[string]string{"amd64": "x86-64", "386": "x86", "arm64": "arm64", "arm": "arm", "riscv64": "riscv64",
		"ppc64le": "ppc64-le", "s390x": "s390x", "loong64": "loongarch64"}[runtime.GOARCH]
	m.Hostname, _ = os.Hostname()
	if b, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err == nil {
		if id := strings.TrimSpace(string(b)); len(id) == 32 {
			m.MachineID = strings.ToLower(id)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "sys/firmware/efi")); err == nil {
		m.EFI = true
	}
	return m
}

// holds says whether every condition of the file holds on the machine.
func (f *LinkFile) holds(m *Machine) bool {
	for key, test := range map[string]func(string) bool{
		"Host": func(v string) bool {
			return strings.EqualFold(strings.ReplaceAll(v, "-", ""), m.MachineID) && m.MachineID != "" || hwdb.Match(v, m.Hostname)
		},
		"Virtualization": func(v string) bool {
			virtual := m.Virtualization != "" && m.Virtualization != "none"
			switch v {
			case "vm":
				return virtual && !m.Container
			case "container":
				return virtual && m.Container
			case "private-users":
				return false
			case "1", "yes", "y", "true", "t", "on":
				return virtual
			case "0", "no", "n", "false", "f", "off":
				return !virtual
			}
			return v == m.Virtualization
		},
		"KernelCommandLine": func(v string) bool {
			for _, w := range words(m.CommandLine) {
				if name, _, _ := strings.Cut(w, "="); w == v || !strings.Contains(v, "=") && name == v {
					return true
				}
			}
			return false
		},
		"KernelVersion": func(v string) bool { return kernelVersionHolds(v, m.Release) },
		"Architecture":  func(v string) bool { return v == m.Architecture || v == "native" },
		"Firmware":      func(v string) bool { return v == "uefi" && m.EFI },
		"Credential":    func(v string) bool { return m.Credential != nil && m.Credential(v) },
	} {
		for _, v := range f.Match[key] {
			want, negated := strings.CutPrefix(v, "!")
			if test(want) == negated {
				return false
			}
		}
	}
	return true
}

// kernelVersionHolds compares each expression of a list: an operator with a version, or a pattern.
func kernelVersionHolds(list, release string) bool {
	fields := words(list)
	for i := 0; i < len(fields); i++ {
		w := fields[i]
		op := ""
		for _, o := range []string{"<=", ">=", "!=", "<", ">", "="} {
			if strings.HasPrefix(w, o) {
				op = o
				break
			}
		}
		if op == "" {
			if !hwdb.Match(w, release) {
				return false
			}
			continue
		}
		v := w[len(op):]
		if v == "" && i+1 < len(fields) {
			i++
			v = fields[i]
		}
		c := compareVersions(release, v)
		if !(op == "<" && c < 0 || op == "<=" && c <= 0 || op == "=" && c == 0 || op == "!=" && c != 0 || op == ">=" && c >= 0 || op == ">" && c > 0) {
			return false
		}
	}
	return true
}

// compareVersions compares by digits as numbers and the rest as text.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		na, nb := 0, 0
		for na < len(a) && !isDigit(a[na]) {
			na++
		}
		for nb < len(b) && !isDigit(b[nb]) {
			nb++
		}
		if c := strings.Compare(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = strings.TrimLeft(a[na:], "0"), strings.TrimLeft(b[nb:], "0")
		na, nb = 0, 0
		for na < len(a) && isDigit(a[na]) {
			na++
		}
		for nb < len(b) && isDigit(b[nb]) {
			nb++
		}
		if na != nb {
			return na - nb
		}
		if c := strings.Compare(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// empty says whether [Match] holds nothing: such a file does not count.
func (f *LinkFile) empty() bool { return len(f.Match) == 0 }

// LinkDirs are the directories of .link files below root, highest first.
func LinkDirs(root string) []string {
	var out []string
	for _, d := range []string{"etc", "run", "usr/local/lib", "usr/lib", "lib"} {
		out = append(out, filepath.Join("/", root, d, "systemd/network"))
	}
	return out
}

// LinkFiles are the .link files of a system. They are read when first asked for, and again when one has changed. It may
// be used by any number of goroutines.
type LinkFiles struct {
	dirs    []string
	machine Machine

	mu     sync.Mutex
	loaded bool
	stamp  map[string]string
	files  []*LinkFile
	untold []LinkProblem
}

// NewLinkFiles returns the files of the directories, of which the first counts most; see [LinkDirs].
func NewLinkFiles(dirs []string, machine Machine) *LinkFiles {
	return &LinkFiles{dirs: dirs, machine: machine}
}

// Files returns those that count on this machine, in the order in which they are tried: by name.
func (l *LinkFiles) Files() []*LinkFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	paths, stamp := l.list()
	if l.loaded && mapsEqual(stamp, l.stamp) {
		return l.files
	}
	l.loaded, l.stamp, l.files, l.untold = true, stamp, nil, nil
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		f := &LinkFile{Path: path}
		f.Parse(path, text)
		for _, drop := range l.dropIns(filepath.Base(path)) {
			if text, err := os.ReadFile(drop); err == nil {
				f.Parse(drop, text)
				f.Drops = append(f.Drops, drop)
			}
		}
		f.checkFunctions()
		if f.empty() {
			f.Problems = append(f.Problems, LinkProblem{path, 1, "[Match] is empty: the file does not count; OriginalName=* matches every interface"})
			l.files = append(l.files, f)
		} else if f.holds(&l.machine) {
			l.files = append(l.files, f)
		}
		l.untold = append(l.untold, f.Problems...)
	}
	return l.files
}

// News returns the problems of what was read since it was last asked.
func (l *LinkFiles) News() []LinkProblem {
	l.mu.Lock()
	defer l.mu.Unlock()
	news := l.untold
	l.untold = nil
	return news
}

// Reload forgets what was read.
func (l *LinkFiles) Reload() {
	l.mu.Lock()
	l.loaded = false
	l.mu.Unlock()
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// list returns the files by name, each from the first directory that has it, and what they all look like now.
func (l *LinkFiles) list() ([]string, map[string]string) {
	byName, stamp := map[string]string{}, map[string]string{}
	note := func(path string, st fs.FileInfo) { stamp[path] = fmt.Sprint(st.Size(), st.ModTime().UnixNano()) }
	for _, dir := range l.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch filepath.Ext(e.Name()) {
			case ".link":
				if st, err := os.Stat(path); err == nil && byName[e.Name()] == "" {
					byName[e.Name()] = path
					note(path, st)
				}
			case ".d":
				if !strings.HasSuffix(e.Name(), ".link.d") {
					break
				}
				drops, _ := filepath.Glob(filepath.Join(path, "*.conf"))
				for _, d := range drops {
					if st, err := os.Stat(d); err == nil {
						note(d, st)
					}
				}
			}
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = byName[name]
	}
	return names, stamp
}

// dropIns returns the drop-ins of a file, by name.
func (l *LinkFiles) dropIns(name string) []string {
	byName := map[string]string{}
	for _, dir := range l.dirs {
		drops, _ := filepath.Glob(filepath.Join(dir, name+".d", "*.conf"))
		for _, d := range drops {
			if base := filepath.Base(d); byName[base] == "" {
				byName[base] = d
			}
		}
	}
	names := make([]string, 0, len(byName))
	for n := range byName {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = byName[n]
	}
	return names
}
