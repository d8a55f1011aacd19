package builtin

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EthtoolSetting is one group of a .link file's settings that go to the driver together: read, changed, written back.
type EthtoolSetting struct {
	Kind   EthtoolKind
	Fields map[int]uint32  // of the request's structure, by the number of the 32-bit word; for channels, rings, pause, coalescing
	Wake   uint32          // for WakeOnLan
	Secret []byte          // its password
	On     map[string]bool // for features, by the kernel's names for them
}

// EthtoolKind is what a setting is about.
type EthtoolKind int

const (
	EthtoolChannels EthtoolKind = iota
	EthtoolRing
	EthtoolPause
	EthtoolCoalesce
	EthtoolWake
	EthtoolFeatures
)

func (k EthtoolKind) String() string {
	return [...]string{"channels", "ring buffers", "flow control", "coalescing", "wake on lan", "features"}[k]
}

func (s EthtoolSetting) String() string {
	var parts []string
	for i, v := range s.Fields {
		parts = append(parts, fmt.Sprintf("[%d]=%d", i, v))
	}
	for n, on := range s.On {
		parts = append(parts, fmt.Sprintf("%s=%v", n, on))
	}
	if s.Kind == EthtoolWake {
		parts = append(parts, fmt.Sprintf("%#x", s.Wake))
	}
	slices.Sort(parts)
	return s.Kind.String() + " " + strings.Join(parts, " ")
}

// Kernel: include/uapi/linux/ethtool.h.
const (
	ethtoolGDRVINFO   = 0x03
	ethtoolGWOL       = 0x05
	ethtoolSWOL       = 0x06
	ethtoolGCOALESCE  = 0x0e
	ethtoolSCOALESCE  = 0x0f
	ethtoolGRINGPARAM = 0x10
	ethtoolSRINGPARAM = 0x11
	ethtoolGPAUSE     = 0x12
	ethtoolSPAUSE     = 0x13
	ethtoolGSTRINGS   = 0x1b
	ethtoolGPERMADDR  = 0x20
	ethtoolGSSETINFO  = 0x37
	ethtoolGFEATURES  = 0x3a
	ethtoolSFEATURES  = 0x3b
	ethtoolGCHANNELS  = 0x3c
	ethtoolSCHANNELS  = 0x3d
	featureStrings    = 4 // ETH_SS_FEATURES
	stringLength      = 32
)

// ethtoolWords are the structures that are nothing but 32-bit words: how to read and write them, and how long they are.
var ethtoolWords = map[EthtoolKind][3]uint32{
	EthtoolChannels: {ethtoolGCHANNELS, ethtoolSCHANNELS, 9},
	EthtoolRing:     {ethtoolGRINGPARAM, ethtoolSRINGPARAM, 9},
	EthtoolPause:    {ethtoolGPAUSE, ethtoolSPAUSE, 4},
	EthtoolCoalesce: {ethtoolGCOALESCE, ethtoolSCOALESCE, 23},
}

// ethtoolField is where a [Link] key goes.
type ethtoolField struct {
	kind EthtoolKind
	word int
	unit byte // 'n' a number, 'b' a switch, 's' a time in microseconds
}

var ethtoolFields = map[string]ethtoolField{
	"RxChannels": {EthtoolChannels, 5, 'n'}, "TxChannels": {EthtoolChannels, 6, 'n'},
	"OtherChannels": {EthtoolChannels, 7, 'n'}, "CombinedChannels": {EthtoolChannels, 8, 'n'},
	"RxBufferSize": {EthtoolRing, 5, 'n'}, "RxMiniBufferSize": {EthtoolRing, 6, 'n'},
	"RxJumboBufferSize": {EthtoolRing, 7, 'n'}, "TxBufferSize": {EthtoolRing, 8, 'n'},
	"AutoNegotiationFlowControl": {EthtoolPause, 1, 'b'}, "RxFlowControl": {EthtoolPause, 2, 'b'}, "TxFlowControl": {EthtoolPause, 3, 'b'},
	"RxCoalesceSec": {EthtoolCoalesce, 1, 's'}, "RxMaxCoalescedFrames": {EthtoolCoalesce, 2, 'n'},
	"RxCoalesceIrqSec": {EthtoolCoalesce, 3, 's'}, "RxMaxCoalescedIrqFrames": {EthtoolCoalesce, 4, 'n'},
	"TxCoalesceSec": {EthtoolCoalesce, 5, 's'}, "TxMaxCoalescedFrames": {EthtoolCoalesce, 6, 'n'},
	"TxCoalesceIrqSec": {EthtoolCoalesce, 7, 's'}, "TxMaxCoalescedIrqFrames": {EthtoolCoalesce, 8, 'n'},
	"StatisticsBlockCoalesceSec": {EthtoolCoalesce, 9, 's'}, "UseAdaptiveRxCoalesce": {EthtoolCoalesce, 10, 'b'},
	"UseAdaptiveTxCoalesce": {EthtoolCoalesce, 11, 'b'}, "CoalescePacketRateLow": {EthtoolCoalesce, 12, 'n'},
	"RxCoalesceLowSec": {EthtoolCoalesce, 13, 's'}, "RxMaxCoalescedLowFrames": {EthtoolCoalesce, 14, 'n'},
	"TxCoalesceLowSec": {EthtoolCoalesce, 15, 's'}, "TxMaxCoalescedLowFrames": {EthtoolCoalesce, 16, 'n'},
	"CoalescePacketRateHigh": {EthtoolCoalesce, 17, 'n'}, "RxCoalesceHighSec": {EthtoolCoalesce, 18, 's'},
	"RxMaxCoalescedHighFrames": {EthtoolCoalesce, 19, 'n'}, "TxCoalesceHighSec": {EthtoolCoalesce, 20, 's'},
	"TxMaxCoalescedHighFrames": {EthtoolCoalesce, 21, 'n'}, "CoalescePacketRateSampleIntervalSec": {EthtoolCoalesce, 22, 's'},
}

// ethtoolFeatures are the kernel's names for what [Link] switches. Kernel: net/ethtool/common.c.
var ethtoolFeatures = map[string]string{
	"ReceiveChecksumOffload": "rx-checksum", "TransmitChecksumOffload": "tx-checksum-", "GenericSegmentationOffload": "tx-generic-segmentation",
	"TCPSegmentationOffload": "tx-tcp-segmentation", "TCP6SegmentationOffload": "tx-tcp6-segmentation", "GenericReceiveOffload": "rx-gro",
	"GenericReceiveOffloadHardware": "rx-gro-hw", "LargeReceiveOffload": "rx-lro", "ReceiveVLANCTAGHardwareAcceleration": "rx-vlan-hw-parse",
	"TransmitVLANCTAGHardwareAcceleration": "tx-vlan-hw-insert", "ReceiveVLANCTAGFilter": "rx-vlan-filter",
	"TransmitVLANSTAGHardwareAcceleration": "tx-vlan-stag-hw-insert", "NTupleFilter": "rx-ntuple-filter",
}

// wakeOptions are the words of WakeOnLan=.
var wakeOptions = map[string]uint32{"phy": 1, "unicast": 2, "multicast": 4, "broadcast": 8, "arp": 16, "magic": 32, "secureon": 64, "off": 0}

// ethtoolSettings makes the settings out of a file's [Link]. Values that make no sense are told and left out.
func (f *LinkFile) ethtoolSettings() (all []EthtoolSetting, problems []string) {
	byKind := map[EthtoolKind]map[int]uint32{}
	for key, field := range ethtoolFields {
		text := f.value(key)
		if text == "" {
			continue
		}
		v, err := parseEthtool(text, field)
		if err != nil {
			problems = append(problems, key+"="+text+": "+err.Error())
			continue
		}
		if byKind[field.kind] == nil {
			byKind[field.kind] = map[int]uint32{}
		}
		byKind[field.kind][field.word] = v
	}
	on := map[string]bool{}
	for key, name := range ethtoolFeatures {
		if text := f.value(key); text != "" {
			on[name] = isTrue(text)
		}
	}
	if words := f.Link["WakeOnLan"]; len(words) > 0 {
		s := EthtoolSetting{Kind: EthtoolWake}
		ok := true
		for _, w := range words {
			bit, known := wakeOptions[w]
			if !known {
				problems = append(problems, "WakeOnLan="+w+" is unknown")
				ok = false
			}
			s.Wake |= bit
		}
		if text := f.value("WakeOnLanPassword"); text != "" {
			if secret, err := parseMAC(text); err == nil && len(secret) == 6 {
				s.Secret, s.Wake = secret, s.Wake|64
			}
		}
		if ok {
			all = append(all, s)
		}
	}
	if len(on) > 0 {
		all = append(all, EthtoolSetting{Kind: EthtoolFeatures, On: on})
	}
	for kind := EthtoolChannels; kind <= EthtoolCoalesce; kind++ {
		if fields := byKind[kind]; fields != nil {
			all = append(all, EthtoolSetting{Kind: kind, Fields: fields})
		}
	}
	slices.Sort(problems)
	return all, problems
}

func parseEthtool(text string, field ethtoolField) (uint32, error) {
	switch {
	case field.unit == 'b':
		if isTrue(text) {
			return 1, nil
		}
		return 0, nil
	case field.unit == 's':
		unit := 1e6
		for _, u := range []struct {
			suffix string
			micro  float64
		}{{"usec", 1}, {"us", 1}, {"µs", 1}, {"msec", 1e3}, {"ms", 1e3}, {"sec", 1e6}, {"s", 1e6}, {"min", 6e7}} {
			if rest, ok := strings.CutSuffix(text, u.suffix); ok {
				text, unit = strings.TrimSpace(rest), u.micro
				break
			}
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || v < 0 || v*unit > 1<<32-1 {
			return 0, strconv.ErrRange
		}
		return uint32(v * unit), nil
	case text == "max" && (field.kind == EthtoolChannels || field.kind == EthtoolRing):
		return 1<<32 - 1, nil // as much as the driver has
	}
	v, err := strconv.ParseUint(text, 10, 32)
	return uint32(v), err
}

func (t *Table) applyEthtool(call *Call, f *LinkFile) {
	settings, problems := f.ethtoolSettings()
	for _, p := range problems {
		call.log("a setting of a .link file does not count", "file", f.Path, "problem", p)
	}
	for _, s := range settings {
		if err := t.opts.Network.Ethtool(call.Device.Sysname(), s); err != nil {
			call.log("cannot apply a .link file", "file", f.Path, "setting", s.String(), "err", err)
		}
	}
}

// ethtoolSocket makes requests about one interface.
type ethtoolSocket struct {
	fd   int
	name string
}

func openEthtool(name string) (*ethtoolSocket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC); err != nil {
			return nil, err
		}
	}
	return &ethtoolSocket{fd, name}, nil
}

func (e *ethtoolSocket) Close() { unix.Close(e.fd) }

// request hands b, which begins with the command's number, to the driver.
func (e *ethtoolSocket) request(b []byte) error {
	if len(e.name) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		pad  [16]byte
	}
	copy(req.name[:], e.name)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&b[0])
	req.data = unsafe.Pointer(&b[0])
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

func newRequest(command uint32, size int) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b, command)
	return b
}

// ethtool asks for the driver's name and, where rtnetlink did not say, the permanent address.
func (s *LinkState) ethtool(name string) error {
	e, err := openEthtool(name)
	if err != nil {
		return err
	}
	defer e.Close()
	if len(s.Address) > 0 && len(s.Permanent) == 0 {
		b := newRequest(ethtoolGPERMADDR, 8+32)
		binary.NativeEndian.PutUint32(b[4:], 32)
		if e.request(b) == nil {
			n := min(int(binary.NativeEndian.Uint32(b[4:])), 32)
			if addr := b[8 : 8+n]; slices.ContainsFunc(addr, func(c byte) bool { return c != 0 }) {
				s.Permanent = addr
			}
		}
	}
	info := newRequest(ethtoolGDRVINFO, 196)
	if err := e.request(info); err != nil {
		return ethtoolError("driver", err)
	}
	s.Driver = strings.TrimRight(string(info[4:36]), "\x00")
	if i := strings.IndexByte(s.Driver, 0); i >= 0 {
		s.Driver = s.Driver[:i]
	}
	return nil
}

// Ethtool reads what the driver has, changes it and writes it back, unless it is so already.
func (kernelNetwork) Ethtool(name string, s EthtoolSetting) error {
	e, err := openEthtool(name)
	if err != nil {
		return err
	}
	defer e.Close()
	switch s.Kind {
	case EthtoolWake:
		b := newRequest(ethtoolGWOL, 20)
		if err := e.request(b); err != nil {
			return ethtoolError("wake on lan", err)
		}
		supported, now := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
		if now == s.Wake && s.Secret == nil {
			return nil
		}
		if s.Wake&^supported != 0 {
			return unix.EOPNOTSUPP
		}
		binary.NativeEndian.PutUint32(b, ethtoolSWOL)
		binary.NativeEndian.PutUint32(b[8:], s.Wake)
		copy(b[12:18], s.Secret)
		return ethtoolError("wake on lan", e.request(b))
	case EthtoolFeatures:
		return e.features(s.On)
	}
	spec := ethtoolWords[s.Kind]
	b := newRequest(spec[0], int(spec[2])*4)
	if err := e.request(b); err != nil {
		return ethtoolError(s.Kind.String(), err)
	}
	changed := false
	for word, v := range s.Fields {
		if s.Kind == EthtoolChannels || s.Kind == EthtoolRing { // the limits come first
			v = min(v, binary.NativeEndian.Uint32(b[4*(word-4):]))
		}
		changed = changed || binary.NativeEndian.Uint32(b[4*word:]) != v
		binary.NativeEndian.PutUint32(b[4*word:], v)
	}
	if !changed {
		return nil
	}
	binary.NativeEndian.PutUint32(b, spec[1])
	return ethtoolError(s.Kind.String(), e.request(b))
}

// features switches features by their names; one that ends in '-' stands for all that begin so.
func (e *ethtoolSocket) features(on map[string]bool) error {
	info := newRequest(ethtoolGSSETINFO, 20)
	binary.NativeEndian.PutUint64(info[8:], 1<<featureStrings)
	if err := e.request(info); err != nil {
		return ethtoolError("features", err)
	}
	count := int(binary.NativeEndian.Uint32(info[16:]))
	if count == 0 || count > 4096 {
		return unix.EOPNOTSUPP
	}
	names := newRequest(ethtoolGSTRINGS, 12+count*stringLength)
	binary.NativeEndian.PutUint32(names[4:], featureStrings)
	binary.NativeEndian.PutUint32(names[8:], uint32(count))
	if err := e.request(names); err != nil {
		return ethtoolError("features", err)
	}
	blocks := (count + 31) / 32
	set := newRequest(ethtoolSFEATURES, 8+8*blocks)
	binary.NativeEndian.PutUint32(set[4:], uint32(blocks))
	for i := range count {
		name, _, _ := strings.Cut(string(names[12+i*stringLength:][:stringLength]), "\x00")
		for want, v := range on {
			if name != want && !(strings.HasSuffix(want, "-") && strings.HasPrefix(name, want)) {
				continue
			}
			block := set[8+8*(i/32):]
			binary.NativeEndian.PutUint32(block, binary.NativeEndian.Uint32(block)|1<<(i%32))
			if v {
				binary.NativeEndian.PutUint32(block[4:], binary.NativeEndian.Uint32(block[4:])|1<<(i%32))
			}
		}
	}
	return ethtoolError("features", e.request(set))
}
