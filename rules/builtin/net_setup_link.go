package builtin

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mathbits "math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// LinkState is what the kernel says of an interface.
type LinkState struct {
	Type      int // ARPHRD_…
	Flags     uint32
	Kind      string // "vlan", "bridge"…, "" for hardware
	Driver    string
	Address   []byte
	Permanent []byte
	AltNames  []string
}

// LinkChange is what a .link file changes by rtnetlink. A nil or empty field changes nothing.
type LinkChange struct {
	Address                                                        []byte
	Alias                                                          string
	TxQueues, RxQueues, TxQueueLength, MTU, GSOMaxSize, GSOMaxSegs *uint32
	AltNames                                                       []string // to add
	Function                                                       *VirtualFunction
}

// IsZero says whether nothing is to be changed.
func (c LinkChange) IsZero() bool {
	return len(c.Address) == 0 && c.Alias == "" && len(c.AltNames) == 0 && c.TxQueues == nil && c.RxQueues == nil &&
		c.TxQueueLength == nil && c.MTU == nil && c.GSOMaxSize == nil && c.GSOMaxSegs == nil && c.Function == nil
}

// Network is the seam between net_setup_link and the kernel. An error that satisfies errors.Is(err, unix.ENODEV) means
// that the interface has gone.
type Network interface {
	// State returns what the kernel says of an interface.
	State(ifindex int, name string) (LinkState, error)
	// Change changes it by rtnetlink.
	Change(ifindex int, c LinkChange) error
	// Ethtool carries out one of a file's settings that go to the driver.
	Ethtool(name string, s EthtoolSetting) error
}

// linkOf returns what the kernel says of the call's interface.
func (t *Table) linkOf(call *Call) (LinkState, error) {
	ifindex := call.Device.Ifindex()
	if ifindex == 0 {
		return LinkState{}, errors.New("not a network interface")
	}
	return t.opts.Network.State(ifindex, call.Device.Sysname())
}

// netDriver sets ID_NET_DRIVER as ethtool names the driver.
func (t *Table) netDriver(ctx context.Context, call *Call) error {
	state, err := t.linkOf(call)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if state.Driver == "" {
		return ErrNothing
	}
	call.Set("ID_NET_DRIVER", state.Driver)
	return nil
}

// netSetupLink applies the first .link file that matches the interface, on add, bind and move, and sets ID_NET_NAME to
// the name that its policies yield. Nothing is renamed here: a rule does that.
func (t *Table) netSetupLink(ctx context.Context, call *Call) error {
	if len(call.Args) > 0 {
		return errors.New("takes no arguments")
	}
	state, err := t.linkOf(call)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state of the interface: %w", err)
	}
	if state.Driver != "" && t.opts.Udev < 257 {
		call.Set("ID_NET_DRIVER", state.Driver)
	}
	if state.Flags&unix.IFF_LOOPBACK != 0 {
		return nil
	}
	dev := call.Device
	var file *LinkFile
	for _, f := range t.opts.Links.Files() {
		if !f.empty() && f.matches(call, &state) {
			file = f
			break
		}
	}
	for _, p := range t.opts.Links.News() {
		call.warn("a line of a .link file does not count", "problem", p.String())
	}
	if file == nil {
		return nil
	}
	name := dev.Sysname()
	action := "add"
	if call.Event != nil {
		action = call.Event.Action()
	}
	switch action {
	case "add", "bind", "move":
		t.applyEthtool(call, file)
		change, problems := t.change(call, file, &state)
		for _, p := range problems {
			call.warn("a setting of a .link file does not count", "problem", p)
		}
		if !change.IsZero() {
			if err := t.opts.Network.Change(dev.Ifindex(), change); errors.Is(err, unix.ENODEV) {
				return nil
			} else if err != nil {
				call.warn("cannot apply a .link file", "file", file.Path, "err", err)
			}
		}
		t.virtualFunctions(call, file)
		t.steering(call, file)
		name = t.newName(call, file, action)
	}
	t.linkProperties(call, file)
	call.Set("ID_NET_NAME", name)
	return ctx.Err()
}

// linkProperties sets the properties that the file has for the interface.
func (t *Table) linkProperties(call *Call, f *LinkFile) {
	if keys := f.Link["ImportProperty"]; len(keys) > 0 {
		if rec, err := call.Device.Record(); err == nil && rec != nil {
			for _, key := range keys {
				if value, ok := rec.Get(key); ok {
					call.Set(key, value)
				}
			}
		}
	}
	for _, p := range f.Link["Property"] {
		if key, value, ok := strings.Cut(p, "="); ok {
			call.Set(key, value)
		}
	}
	if call.Unset != nil {
		for _, key := range f.Link["UnsetProperty"] {
			call.Unset(key)
		}
	}
	call.Set("ID_NET_LINK_FILE", f.Path)
	if len(f.Drops) > 0 && t.opts.Udev >= 257 {
		call.Set("ID_NET_LINK_FILE_DROPINS", strings.Join(f.Drops, ":"))
	}
}

// matches says whether every key of [Match] fits.
func (f *LinkFile) matches(call *Call, state *LinkState) bool {
	dev := call.Device
	has := func(key string, addr []byte) bool {
		list := f.Match[key]
		return len(list) == 0 || slices.Contains(list, hex.EncodeToString(addr))
	}
	path, _ := call.Get("ID_PATH")
	if !has("MACAddress", state.Address) || !has("PermanentMACAddress", state.Permanent) ||
		!matchList(f.Match["Path"], path) || !matchList(f.Match["Driver"], state.Driver) ||
		!matchList(f.Match["Type"], linkType(dev, state.Type)) || !matchList(f.Match["Kind"], state.Kind) ||
		!matchList(f.Match["OriginalName"], dev.Sysname()) {
		return false
	}
	for _, p := range f.Match["Property"] {
		p, negated := strings.CutPrefix(p, "!")
		key, pattern, _ := strings.Cut(p, "=")
		value, ok := call.Get(key)
		if (ok && hwdb.Match(pattern, value)) == negated {
			return false
		}
	}
	return true
}

// matchList says whether none of the negated patterns matches, and one of the others, if there are any.
func matchList(patterns []string, s string) bool {
	positive, found := false, false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		positive = positive || !negated
		if s != "" && hwdb.Match(p, s) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found || !positive
}

// linkType is the devtype, or the hardware type's name.
func linkType(dev *hotplug.Device, kind int) string {
	if d := dev.Devtype(); d != "" {
		return d
	}
	switch kind {
	case 1:
		return "ether"
	case 32:
		return "infiniband"
	case 256:
		return "slip"
	case 512:
		return "ppp"
	case 768:
		return "tunnel"
	case 769:
		return "tunnel6"
	case 772:
		return "loopback"
	case 776:
		return "sit"
	case 778:
		return "ipgre"
	case 801:
		return "ieee80211"
	case 280:
		return "can"
	case 519:
		return "rawip"
	case 0xfffe:
		return "none"
	case 823:
		return "ip6gre"
	case 824:
		return "netlink"
	case 826:
		return "vsockmon"
	}
	return ""
}

func (f *LinkFile) value(key string) string {
	if v := f.Link[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// policies are where a policy's name comes from.
func policies() map[string]string {
	return map[string]string{"database": "ID_NET_NAME_FROM_DATABASE", "onboard": "ID_NET_NAME_ONBOARD", "slot": "ID_NET_NAME_SLOT",
		"path": "ID_NET_NAME_PATH", "mac": "ID_NET_NAME_MAC"}
}

// Kernel: include/uapi/linux/netdevice.h: who gave an interface its name, and its address.
const (
	nameEnum, namePredictable, nameUser, nameRenamed = 1, 2, 3, 4
	addrRandom, addrStolen, addrSet                  = 1, 2, 3
)

// newName returns the name by the file's policies, else by its Name=, else the one that there is.
func (t *Table) newName(call *Call, f *LinkFile, action string) string {
	current := call.Device.Sysname()
	if action == "move" {
		return current
	}
	assigned, _ := strconv.Atoi(attr(call.Device, "name_assign_type"))
	user := assigned == nameUser || assigned == nameRenamed
	if user && !t.naming.has(namingAllowRename) {
		return current
	}
	enabled := true
	if v, ok := bootParameter(t.opts.CommandLine, "net.ifnames"); ok {
		enabled = isTrue(v)
	}
	for _, p := range f.Link["NamePolicy"] {
		if !enabled {
			break
		}
		switch p {
		case "kernel":
			if assigned == namePredictable {
				return current
			}
		case "keep":
			if user {
				return current
			}
		default:
			if name, ok := call.Get(policies()[p]); ok && validIfname(name, 15) {
				return name
			}
		}
	}
	if name := f.value("Name"); validIfname(name, 15) {
		return name
	}
	return current
}

// validIfname says whether the kernel takes a name: no blank, '/', ':' or '%' in it, and not only digits.
func validIfname(name string, limit int) bool {
	if name == "" || len(name) > limit || name == "." || name == ".." || name == "all" || name == "default" {
		return false
	}
	numeric := true
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || c == ':' || c == '/' || c == '%' {
			return false
		}
		numeric = numeric && isDigit(c)
	}
	return !numeric
}

// change composes what goes by rtnetlink.
func (t *Table) change(call *Call, f *LinkFile, state *LinkState) (c LinkChange, problems []string) {
	number := func(key string, lo, hi uint64, bytes bool) *uint32 {
		text := f.value(key)
		if text == "" {
			return nil
		}
		v, err := parseSize(text, bytes)
		if err != nil || v < lo || v > hi {
			problems = append(problems, f.problem(key, "out of range"))
			return nil
		}
		n := uint32(v)
		return &n
	}
	c.TxQueues, c.RxQueues = number("TransmitQueues", 1, 4096, false), number("ReceiveQueues", 1, 4096, false)
	c.TxQueueLength = number("TransmitQueueLength", 0, 1<<32-2, false)
	c.MTU = number("MTUBytes", 1, 1<<32-1, true)
	c.GSOMaxSize, c.GSOMaxSegs = number("GenericSegmentOffloadMaxBytes", 1, 1<<32-1, true), number("GenericSegmentOffloadMaxSegments", 1, 65535, false)
	if a := f.value("Alias"); len(a) < 256 && strings.Trim(a, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") == "" {
		c.Alias = a
	}
	addr, err := t.address(call, f, state)
	if err != nil {
		problems = append(problems, err.Error())
	}
	c.Address = addr

	for _, n := range f.Link["AlternativeName"] {
		if validIfname(n, maxNetName) {
			c.AltNames = append(c.AltNames, n)
		}
	}
	for _, p := range f.Link["AlternativeNamesPolicy"] {
		if n, ok := call.Get(policies()[p]); ok && n != "" {
			c.AltNames = append(c.AltNames, n)
		}
	}
	slices.Sort(c.AltNames)
	c.AltNames = slices.DeleteFunc(slices.Compact(c.AltNames), func(n string) bool {
		return n == call.Device.Sysname() || slices.Contains(state.AltNames, n)
	})
	return c, problems
}

// address returns the address that the file's policy gives the interface, nil to leave it.
func (t *Table) address(call *Call, f *LinkFile, state *LinkState) ([]byte, error) {
	policy := f.value("MACAddressPolicy")
	if len(state.Address) == 0 {
		return nil, nil
	}
	var addr []byte
	static := false
	switch policy {
	case "", "none":
		text := f.value("MACAddress")
		if text == "" {
			return nil, nil
		}
		var err error
		if addr, err = parseMAC(text); err != nil {
			return nil, fmt.Errorf("MACAddress=%s: %w", text, err)
		}
		static = true
	case "persistent", "random":
		if state.Type != arpEther && state.Type != arpInfiniband {
			return nil, nil
		}
		assigned, err := strconv.Atoi(attr(call.Device, "addr_assign_type"))
		if err != nil || assigned != addrRandom && assigned != addrPermanent {
			return nil, nil
		}
		if (policy == "random") == (assigned == addrRandom) {
			return nil, nil // it is so already
		}
		addr = make([]byte, 6)
		tail := addr
		if state.Type == arpInfiniband {
			addr = make([]byte, 20)
			tail = addr[12:]
		}
		if policy == "random" {
			for i := range tail {
				tail[i] = byte(rand.Uint32())
			}
		} else {
			id, ok := t.identity(call)
			if !ok {
				return nil, errors.New("MACAddressPolicy=persistent: nothing stable is known of the interface or the machine")
			}
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], id)
			copy(tail, b[:])
		}
	default:
		return nil, fmt.Errorf("MACAddressPolicy=%s is unknown", policy)
	}
	if state.Type == arpEther {
		zero, ones := true, true
		for _, b := range addr {
			zero, ones = zero && b == 0, ones && b == 0xff
		}
		if len(addr) != 6 || zero || ones {
			return nil, fmt.Errorf("%x is no address for Ethernet", addr)
		}
		addr[0] &^= 1
		if !static {
			addr[0] |= 2
		}
	} else if state.Type == arpInfiniband {
		if len(addr) != 20 || len(state.Address) != 20 {
			return nil, fmt.Errorf("%x is no address for InfiniBand", addr)
		}
		copy(addr, state.Address[:12])
	}
	if slices.Equal(addr, state.Address) {
		return nil, nil
	}
	return addr, nil
}

// identity hashes the machine's ID with what names the interface for good.
func (t *Table) identity(call *Call) (uint64, bool) {
	machine, err := hex.DecodeString(t.opts.Links.machine.MachineID)
	if err != nil || len(machine) != 16 {
		return 0, false
	}
	name := ""
	for _, key := range []string{"ID_NET_NAME_ONBOARD", "ID_NET_NAME_SLOT", "ID_NET_NAME_PATH", "ID_NET_NAME_MAC"} {
		if v, ok := call.Get(key); ok {
			name = v
			break
		}
	}
	if name == "" && t.naming.has(namingStableMACs) {
		name = call.Device.Sysname()
	}
	if name == "" {
		return 0, false
	}
	key := [16]byte{0xd3, 0x1e, 0x48, 0xfa, 0x90, 0xfe, 0x4b, 0x4c, 0x9d, 0xaf, 0xd5, 0xd7, 0xa1, 0xb1, 0x2e, 0x8a}
	return sipHash(key, append(machine, name...)), true
}

// sipHash is SipHash-2-4.
func sipHash(key [16]byte, b []byte) uint64 {
	le := binary.LittleEndian
	k0, k1 := le.Uint64(key[:]), le.Uint64(key[8:])
	v0, v1, v2, v3 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d, k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = mathbits.RotateLeft64(v1, 13) ^ v0
		v0 = mathbits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = mathbits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = mathbits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = mathbits.RotateLeft64(v1, 17) ^ v2
		v2 = mathbits.RotateLeft64(v2, 32)
	}
	word := func(m uint64) {
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	n := len(b)
	for ; len(b) >= 8; b = b[8:] {
		word(le.Uint64(b))
	}
	var last [8]byte
	copy(last[:], b)
	last[7] = byte(n)
	word(le.Uint64(last[:]))
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// parseSize reads a number with a suffix: K, M, G and T by 1024 for bytes, by 1000 for others.
func parseSize(s string, bytes bool) (uint64, error) {
	base := uint64(1000)
	if bytes {
		base = 1024
	}
	factor := uint64(1)
	if s = strings.TrimSpace(s); s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			for range i + 1 {
				factor *= base
			}
			s = strings.TrimSpace(s[:len(s)-1])
		} else if bytes {
			s = strings.TrimSuffix(s, "B")
		}
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if hi, lo := mathbits.Mul64(v, factor); err == nil && hi == 0 {
		return lo, nil
	}
	return 0, strconv.ErrRange
}

// steering says which processors may work on what the interface's queues receive.
func (t *Table) steering(call *Call, f *LinkFile) {
	const key, most = "ReceivePacketSteeringCPUMask", 8192
	var mask []uint32 // the lowest processors first
	for _, list := range f.Link[key] {
		switch list {
		case "disable":
			mask = make([]uint32, 1)
			continue
		case "all":
			list, _ = call.Device.Roots().ReadFile("/sys/devices/system/cpu/possible")
			list = strings.TrimSpace(list)
		}
		for _, r := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
			from, to, ok := strings.Cut(r, "-")
			if !ok {
				to = from
			}
			first, err1 := strconv.Atoi(from)
			last, err2 := strconv.Atoi(to)
			if err1 != nil || err2 != nil || first < 0 || last < first || last >= most {
				call.warn("a setting of a .link file does not count", "problem", f.problem(key, r+" is no processor"))
				return
			}
			for ; first <= last; first++ {
				for len(mask) <= first/32 {
					mask = append(mask, 0)
				}
				mask[first/32] |= 1 << (first % 32)
			}
		}
	}
	if mask == nil || t.opts.DryRun {
		return
	}
	text := strconv.FormatUint(uint64(mask[len(mask)-1]), 16)
	for i := len(mask) - 2; i >= 0; i-- {
		text += fmt.Sprintf(",%08x", mask[i])
	}
	queues, _ := call.Device.ReadDir("queues")
	for _, q := range queues {
		if !strings.HasPrefix(q, "rx-") {
			continue
		}
		if err := call.Device.SetAttr("queues/"+q+"/rps_cpus", text); err != nil {
			call.warn("cannot apply a .link file", "file", f.Path, "err", err)
		}
	}
}
