package builtin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EthtoolSetting is one group of a .link file's settings that go to the driver together: read, changed, written back.
type EthtoolSetting struct {
	Kind      EthtoolKind
	Fields    map[int]uint32  // of the request's structure, by the number of the 32-bit word, or of the byte for link modes
	Advertise []uint32        // link modes, by the kernel's bits; nil: as they are
	Wake      *uint32         // for WakeOnLan; nil: as it is
	Secret    []byte          // its password
	On        map[string]bool // for features, by the kernel's names for them
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
	EthtoolLinkModes
)

func (k EthtoolKind) String() string {
	return [...]string{"channels", "ring buffers", "flow control", "coalescing", "wake on lan", "features", "link modes"}[k]
}

func (s EthtoolSetting) String() string {
	var parts []string
	for i, v := range s.Fields {
		parts = append(parts, fmt.Sprintf("[%d]=%d", i, v))
	}
	for n, on := range s.On {
		parts = append(parts, fmt.Sprintf("%s=%v", n, on))
	}
	if s.Wake != nil {
		parts = append(parts, fmt.Sprintf("%#x", *s.Wake))
	}
	if s.Advertise != nil {
		parts = append(parts, fmt.Sprintf("advertise=%#x", s.Advertise))
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
	ethtoolGLINK      = 0x4c // ETHTOOL_GLINKSETTINGS
	ethtoolSLINK      = 0x4d
	featureStrings    = 4 // ETH_SS_FEATURES
	stringLength      = 32
)

// ethtoolWords are the structures that are nothing but 32-bit words: how to read and write them, and how long they are.
func ethtoolWords() map[EthtoolKind][3]uint32 {
	return map[EthtoolKind][3]uint32{
		EthtoolChannels: {ethtoolGCHANNELS, ethtoolSCHANNELS, 9},
		EthtoolRing:     {ethtoolGRINGPARAM, ethtoolSRINGPARAM, 9},
		EthtoolPause:    {ethtoolGPAUSE, ethtoolSPAUSE, 4},
		EthtoolCoalesce: {ethtoolGCOALESCE, ethtoolSCOALESCE, 23},
	}
}

// ethtoolField is where a [Link] key goes.
type ethtoolField struct {
	kind EthtoolKind
	word int
	unit byte // 'n' a number, 'b' a switch, 's' a time in microseconds, 'S' in seconds
}

func ethtoolFields() map[string]ethtoolField {
	return map[string]ethtoolField{
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
		"TxMaxCoalescedHighFrames": {EthtoolCoalesce, 21, 'n'}, "CoalescePacketRateSampleIntervalSec": {EthtoolCoalesce, 22, 'S'},
	}
}

// ethtoolFeatures are the kernel's names for what [Link] switches. Kernel: net/ethtool/common.c.
func ethtoolFeatures() map[string]string {
	return map[string]string{
		"ReceiveChecksumOffload": "rx-checksum", "TransmitChecksumOffload": "tx-checksum-", "GenericSegmentationOffload": "tx-generic-segmentation",
		"TCPSegmentationOffload": "tx-tcp-segmentation", "TCP6SegmentationOffload": "tx-tcp6-segmentation", "GenericReceiveOffload": "rx-gro",
		"GenericReceiveOffloadHardware": "rx-gro-hw", "LargeReceiveOffload": "rx-lro", "ReceiveVLANCTAGHardwareAcceleration": "rx-vlan-hw-parse",
		"TransmitVLANCTAGHardwareAcceleration": "tx-vlan-hw-insert", "ReceiveVLANCTAGFilter": "rx-vlan-filter",
		"TransmitVLANSTAGHardwareAcceleration": "tx-vlan-stag-hw-insert", "NTupleFilter": "rx-ntuple-filter",
	}
}

// The bytes of struct ethtool_link_settings that [Link] sets, and where the masks begin: those of what is supported,
// advertised, and advertised by the other side.
const (
	linkSpeed, linkDuplex, linkPort, linkAuto, linkMDI, linkMaskWords, linkMasks = 4, 8, 9, 11, 14, 15, 48

	maxMaskWords = 127
)

// linkModeNames are the words of Advertise=, in the order of the kernel's bits.
const linkModeNames = "10baset-half 10baset-full 100baset-half 100baset-full 1000baset-half 1000baset-full autonegotiation tp aui mii fibre bnc " +
	"10000baset-full pause asym-pause 2500basex-full backplane 1000basekx-full 10000basekx4-full 10000basekr-full 10000baser-fec " +
	"20000basemld2-full 20000basekr2-full 40000basekr4-full 40000basecr4-full 40000basesr4-full 40000baselr4-full 56000basekr4-full " +
	"56000basecr4-full 56000basesr4-full 56000baselr4-full 25000basecr-full 25000basekr-full 25000basesr-full 50000basecr2-full " +
	"50000basekr2-full 100000basekr4-full 100000basesr4-full 100000basecr4-full 100000baselr4-er4-full 50000basesr2-full 1000basex-full " +
	"10000basecr-full 10000basesr-full 10000baselr-full 10000baselrm-full 10000baseer-full 2500baset-full 5000baset-full fec-none fec-rs " +
	"fec-baser 50000basekr-full 50000basesr-full 50000basecr-full 50000baselr-er-fr-full 50000basedr-full 100000basekr2-full " +
	"100000basesr2-full 100000basecr2-full 100000baselr2-er2-fr2-full 100000basedr2-full 200000basekr4-full 200000basesr4-full " +
	"200000baselr4-er4-fr4-full 200000basedr4-full 200000basecr4-full 100baset1-full 1000baset1-full 400000basekr8-full " +
	"400000basesr8-full 400000baselr8-er8-fr8-full 400000basedr8-full 400000basecr8-full fec-llrs 100000basekr-full 100000basesr-full " +
	"100000baselr-er-fr-full 100000basecr-full 100000basedr-full 200000basekr2-full 200000basesr2-full 200000baselr2-er2-fr2-full " +
	"200000basedr2-full 200000basecr2-full 400000basekr4-full 400000basesr4-full 400000baselr4-er4-fr4-full 400000basedr4-full " +
	"400000basecr4-full 100basefx-half 100basefx-full"

// linkWords are the words of Duplex=, Port= and MDI=, in the order of the kernel's numbers.
var linkWords = []struct {
	key   string
	byte  int
	words string
}{{"Duplex", linkDuplex, "half full"}, {"Port", linkPort, "tp aui mii fibre bnc"}, {"MDI", linkMDI, "- mdi mdi-x auto"}}

// mdiNames are other words for the same.
func mdiNames() map[string]string {
	return map[string]string{"straight": "mdi", "mdix": "mdi-x", "crossover": "mdi-x"}
}

// wakeOptions are the words of WakeOnLan=.
func wakeOptions() map[string]uint32 {
	return map[string]uint32{"phy": 1, "unicast": 2, "multicast": 4, "broadcast": 8, "arp": 16, "magic": 32, "secureon": 64, "off": 0}
}

// ethtoolSettings makes the settings out of a file's [Link]. Values that make no sense are told and left out.
func (f *LinkFile) ethtoolSettings() (all []EthtoolSetting, problems []string) {
	bad := func(key, why string) { problems = append(problems, f.problem(key, why)) }
	if s, ok := f.linkModes(bad); ok {
		all = append(all, s)
	}
	byKind := map[EthtoolKind]map[int]uint32{}
	for key, field := range ethtoolFields() {
		text := f.value(key)
		if text == "" {
			continue
		}
		v, err := parseEthtool(text, field)
		if err != nil {
			bad(key, err.Error())
			continue
		}
		if byKind[field.kind] == nil {
			byKind[field.kind] = map[int]uint32{}
		}
		byKind[field.kind][field.word] = v
	}
	on := map[string]bool{}
	for key, name := range ethtoolFeatures() {
		text := f.value(key)
		if text == "" {
			continue
		}
		if v, ok := parseBool(text); ok {
			on[name] = v != 0
		} else {
			bad(key, errNotBool.Error())
		}
	}
	if s, ok := f.wakeOnLAN(bad); ok {
		all = append(all, s)
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

// linkModes makes the setting of what the interface advertises, or does without asking the other side.
func (f *LinkFile) linkModes(bad func(key, why string)) (EthtoolSetting, bool) {
	s := EthtoolSetting{Kind: EthtoolLinkModes, Fields: map[int]uint32{}}
	names := strings.Fields(linkModeNames)
	for _, w := range f.Link["Advertise"] {
		bit := slices.Index(names, w)
		if bit < 0 {
			bad("Advertise", w+" is unknown")
			continue
		}
		if s.Advertise == nil {
			s.Advertise = make([]uint32, (len(names)+31)/32)
		}
		s.Advertise[bit/32] |= 1 << (bit % 32)
	}
	if text := f.value("AutoNegotiation"); text != "" {
		if v, ok := parseBool(text); ok {
			s.Fields[linkAuto] = v
		} else {
			bad("AutoNegotiation", errNotBool.Error())
		}
	}
	if text := f.value("BitsPerSecond"); text != "" {
		if v, err := parseSize(text, false); err == nil && v > 0 && v < 1e6*(1<<32-1) {
			s.Fields[linkSpeed] = uint32((v + 999999) / 1000000)
		} else {
			bad("BitsPerSecond", "out of range")
		}
	}
	for _, l := range linkWords {
		text := f.value(l.key)
		if other, ok := mdiNames()[text]; ok && l.byte == linkMDI {
			text = other
		}
		if text == "" {
			continue
		}
		if n := slices.Index(strings.Fields(l.words), text); n >= 0 && text != "-" {
			s.Fields[l.byte] = uint32(n)
		} else {
			bad(l.key, "none of "+strings.TrimPrefix(l.words, "- "))
		}
	}
	// What is fixed and what is negotiated exclude each other.
	fixed := false
	for _, at := range [...]int{linkSpeed, linkDuplex, linkPort} {
		if _, ok := s.Fields[at]; ok && (s.Fields[linkAuto] == 1 || s.Advertise != nil) {
			delete(s.Fields, at)
		} else {
			fixed = fixed || ok
		}
	}
	if fixed {
		s.Fields[linkAuto] = 0
	}
	if s.Advertise != nil {
		s.Fields[linkAuto] = 1
	}
	return s, len(s.Fields) > 0
}

// wakeOnLAN makes the setting of WakeOnLan= and its password, which may stand in a file.
func (f *LinkFile) wakeOnLAN(bad func(key, why string)) (EthtoolSetting, bool) {
	s := EthtoolSetting{Kind: EthtoolWake}
	for _, w := range f.Link["WakeOnLan"] {
		bit, known := wakeOptions()[w]
		if !known {
			bad("WakeOnLan", w+" is unknown")
			continue
		}
		if s.Wake == nil {
			s.Wake = new(uint32)
		}
		*s.Wake |= bit
	}
	text := f.value("WakeOnLanPassword")
	if strings.HasPrefix(text, "/") {
		st, err := os.Stat(text)
		if err == nil && (!st.Mode().IsRegular() || st.Size() > 4096) {
			err = errors.New("no small regular file")
		}
		var b []byte
		if err == nil {
			b, err = os.ReadFile(text)
		}
		if err != nil {
			bad("WakeOnLanPassword", err.Error())
			return s, s.Wake != nil
		}
		text = strings.TrimSpace(string(b))
	}
	if text != "" {
		secret, err := parseMAC(text)
		if err == nil && len(secret) == 6 {
			s.Secret = secret
		} else {
			bad("WakeOnLanPassword", "not six bytes with ':' between them")
		}
	}
	return s, s.Wake != nil || s.Secret != nil
}

// micro is what a time's suffixes stand for, in microseconds; longer ones first.
var micro = []struct {
	suffix string
	factor float64
}{{"usec", 1}, {"us", 1}, {"µs", 1}, {"msec", 1e3}, {"ms", 1e3}, {"seconds", 1e6}, {"second", 1e6}, {"sec", 1e6}, {"s", 1e6},
	{"minutes", 6e7}, {"minute", 6e7}, {"min", 6e7}, {"m", 6e7}}

func parseEthtool(text string, field ethtoolField) (uint32, error) {
	switch {
	case field.unit == 'b':
		v, ok := parseBool(text)
		if !ok {
			return 0, errNotBool
		}
		return v, nil
	case field.unit == 's' || field.unit == 'S':
		unit := 1e6
		for _, u := range micro {
			if rest, ok := strings.CutSuffix(text, u.suffix); ok {
				text, unit = strings.TrimSpace(rest), u.factor
				break
			}
		}
		v, err := strconv.ParseFloat(text, 64)
		interval := field.unit == 'S' || field.kind == EthtoolCoalesce && field.word == 9 // none is none at all
		if err != nil || !(v >= 0 && v*unit <= 1<<32-1) || interval && v*unit < 1 {
			return 0, strconv.ErrRange
		}
		if field.unit == 'S' {
			return uint32(math.Ceil(v * unit / 1e6)), nil
		}
		return uint32(v * unit), nil
	case text == "max" && (field.kind == EthtoolChannels || field.kind == EthtoolRing):
		return 1<<32 - 1, nil // as much as the driver has
	}
	v, err := strconv.ParseUint(text, 10, 32)
	if err == nil && v == 0 && field.kind != EthtoolCoalesce {
		err = strconv.ErrRange
	}
	return uint32(v), err
}

func (t *Table) applyEthtool(call *Call, f *LinkFile) {
	settings, problems := f.ethtoolSettings()
	for _, p := range problems {
		call.warn("a setting of a .link file does not count", "problem", p)
	}
	for _, s := range settings {
		if err := t.opts.Network.Ethtool(call.Device.Sysname(), s); err != nil {
			call.warn("cannot apply a .link file", "file", f.Path, "setting", s.String(), "err", err)
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
		want := now
		if s.Wake != nil {
			want = *s.Wake & supported
		} else if s.Secret != nil {
			want |= wakeOptions()["secureon"] & supported
		}
		secret := s.Secret
		if want&wakeOptions()["secureon"] == 0 {
			secret = nil
		}
		if now == want && (secret == nil || string(b[12:18]) == string(secret)) {
			return nil
		}
		binary.NativeEndian.PutUint32(b, ethtoolSWOL)
		binary.NativeEndian.PutUint32(b[8:], want)
		copy(b[12:18], secret)
		return ethtoolError("wake on lan", e.request(b))
	case EthtoolFeatures:
		return e.features(s.On)
	case EthtoolLinkModes:
		return ethtoolError(s.Kind.String(), e.linkModes(s))
	}
	spec := ethtoolWords()[s.Kind]
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

// linkModes reads the link's settings, whose masks are as long as the kernel says when asked with none, and writes them
// back when something is to be another.
func (e *ethtoolSocket) linkModes(s EthtoolSetting) error {
	b := newRequest(ethtoolGLINK, linkMasks+3*4*maxMaskWords)
	if err := e.request(b); err != nil {
		return err
	}
	n := -int(int8(b[linkMaskWords]))
	if n <= 0 {
		return unix.EOPNOTSUPP
	}
	binary.NativeEndian.PutUint32(b, ethtoolGLINK)
	b[linkMaskWords] = byte(n)
	if err := e.request(b); err != nil {
		return err
	}
	changed := false
	for at, v := range s.Fields {
		switch {
		case at == linkSpeed:
			changed = changed || binary.NativeEndian.Uint32(b[at:]) != v
			binary.NativeEndian.PutUint32(b[at:], v)
		case at == linkMDI && b[at] == 0: // the device has no choice
		default:
			changed = changed || b[at] != byte(v)
			b[at] = byte(v)
		}
	}
	if s.Advertise != nil {
		for i := range n {
			word, at := uint32(0), linkMasks+4*(n+i)
			if i < len(s.Advertise) {
				word = s.Advertise[i]
			}
			changed = changed || binary.NativeEndian.Uint32(b[at:]) != word
			binary.NativeEndian.PutUint32(b[at:], word)
		}
	}
	if !changed {
		return nil
	}
	binary.NativeEndian.PutUint32(b, ethtoolSLINK)
	return e.request(b)
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
