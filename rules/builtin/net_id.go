package builtin

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/kudev/kudev/hotplug"
)

// scheme is a version of the rules by which net_id names interfaces. See systemd.net-naming-scheme(7).
type scheme struct {
	name  string
	flags schemeFlags
}

type schemeFlags uint32

const (
	namingSRIOV schemeFlags = 1 << iota
	namingARI
	namingInfiniband
	namingZeroIndex
	namingAllowRename
	namingStableMACs
	namingNetdevsim
	namingLabelPlain
	namingNspawnHash
	namingBridgeNoSlot
	namingSlotFunctionID
	naming16BitIndex
	namingReplaceStrictly
	namingXenVIF
	namingBridgeMultifunction
	namingDevicetree
)

// schemes come in their order; each has what the one before it has.
var schemes = [...]scheme{
	{"v238", 0},
	{"v239", namingSRIOV | namingARI},
	{"v240", namingInfiniband | namingZeroIndex | namingAllowRename},
	{"v241", namingStableMACs},
	{"v243", namingNetdevsim | namingLabelPlain},
	{"v245", namingNspawnHash},
	{"v247", namingBridgeNoSlot},
	{"v249", namingSlotFunctionID | naming16BitIndex | namingReplaceStrictly},
	{"v250", namingXenVIF},
	{"v251", namingBridgeMultifunction},
	{"v252", namingDevicetree},
}

// namingScheme returns the scheme that net.naming-scheme= on the kernel's command line asks for, else Debian 12's.
func namingScheme(commandLine string) scheme {
	const standard = "v252"
	want, _ := bootParameter(commandLine, "net.naming-scheme")
	if want == "latest" {
		want = standard
	}
	var flags schemeFlags
	var found scheme
	for _, s := range schemes {
		flags |= s.flags
		if s.name == want || found.name == "" && s.name == standard {
			found = scheme{s.name, flags}
		}
		if s.name == want {
			break
		}
	}
	return found
}

func (s scheme) has(f schemeFlags) bool { return s.flags&f == f }

// Kernel: include/uapi/linux/if_arp.h and netdevice.h.
const (
	arpEther      = 1
	arpInfiniband = 32
	arpSLIP       = 256

	addrPermanent = 0
	maxNetName    = 127 // an alternative name may be that long
)

// netNames are the pieces of which names are made, "" where there is none.
type netNames struct {
	isPCI             bool // the interface hangs at the PCI device itself
	path, slot, board string
	label             string
	hasLabel          bool
}

// netID sets the predictable names of a network interface: ID_NET_NAME_MAC, _ONBOARD, _SLOT and _PATH, by the naming
// scheme, and the vendor of its MAC address out of the hardware database.
func (t *Table) netID(ctx context.Context, call *Call) error {
	dev := call.Device
	ifindex := dev.Ifindex()
	if ifindex == 0 {
		return ErrNothing
	}
	iflink, err := strconv.Atoi(attr(dev, "iflink"))
	if err != nil {
		return fmt.Errorf("iflink: %w", err)
	}
	kind, err := strconv.Atoi(attr(dev, "type"))
	if err != nil {
		return fmt.Errorf("type: %w", err)
	}
	if iflink != ifindex { // stacked on another: a VLAN and the like
		return nil
	}
	var prefix string
	switch {
	case kind == arpEther:
		prefix = "en"
	case kind == arpInfiniband && t.naming.has(namingInfiniband):
		prefix = "ib"
	case kind == arpSLIP:
		prefix = "sl"
	default:
		return nil
	}
	switch dev.Devtype() {
	case "wlan":
		prefix = "wl"
	case "wwan":
		prefix = "ww"
	}
	call.Set("ID_NET_NAMING_SCHEME", t.naming.name)
	n := netNamer{table: t, call: call, dev: dev, kind: kind, prefix: prefix, port: attr(dev, "phys_port_name")}
	n.mac()
	if prefix == "en" {
		n.devicetree()
	}
	n.bus()
	return nil
}

type netNamer struct {
	table  *Table
	call   *Call
	dev    *hotplug.Device
	kind   int
	prefix string
	port   string // the front panel's name of the port
}

func (n *netNamer) set(key string, pieces ...string) {
	name := n.prefix + strings.Join(pieces, "")
	if len(name) <= maxNetName {
		n.call.Set(key, name)
	}
}

// mac names an interface after its permanent Ethernet address.
func (n *netNamer) mac() {
	if n.kind == arpInfiniband {
		return
	}
	addr, err := hex.DecodeString(strings.ReplaceAll(attr(n.dev, "address"), ":", ""))
	if err != nil || len(addr) != 6 {
		return
	}
	if assigned, err := parseUint(attr(n.dev, "addr_assign_type"), 0, 32); err != nil || assigned != addrPermanent {
		return
	}
	n.set("ID_NET_NAME_MAC", "x", hex.EncodeToString(addr))
	if addr[0]|addr[1]|addr[2] == 0 || n.table.opts.HWDB == nil { // zeros are misused
		return
	}
	_ = n.table.opts.HWDB.Lookup("OUI:"+strings.ToUpper(hex.EncodeToString(addr)), func(key, value string) bool {
		n.call.Set(key, value)
		return true
	})
}

// devicetree names an interface after its ethernetN alias in the device tree.
func (n *netNamer) devicetree() {
	parent := n.dev.Parent()
	if parent == nil || !n.table.naming.has(namingDevicetree) {
		return
	}
	const base = "/firmware/devicetree/base"
	node, err := linkTarget(parent, "of_node")
	if err != nil {
		return
	}
	node, ok := strings.CutPrefix(node, base)
	if !ok || node == "" {
		return
	}
	roots := n.dev.Roots()
	aliases, err := roots.ReadDir("/sys" + base + "/aliases")
	if err != nil {
		return
	}
	exists := map[string]bool{}
	for _, a := range aliases {
		exists[a] = true
	}
	for _, a := range aliases {
		digits, ok := strings.CutPrefix(a, "ethernet")
		if !ok {
			continue
		}
		target, err := roots.ReadFile("/sys" + base + "/aliases/" + a)
		if err != nil || strings.TrimRight(target, "\x00\n") != node {
			continue
		}
		index, conflict := uint64(0), "ethernet0"
		if digits != "" {
			if index, err = parseUint(digits, 0, 32); err != nil {
				return
			}
			conflict = "ethernet"
		}
		if index == 0 && exists[conflict] {
			return
		}
		n.set("ID_NET_NAME_ONBOARD", "d", strconv.FormatUint(index, 10))
		return
	}
}

// bus names an interface after its place on its bus. The first bus that fits ends the search.
func (n *netNamer) bus() {
	if name := n.ccw(); name != "" {
		n.set("ID_NET_NAME_PATH", name)
		return
	}
	if name := n.vio(); name != "" {
		n.set("ID_NET_NAME_SLOT", name)
		return
	}
	if name := n.platform(); name != "" {
		n.set("ID_NET_NAME_PATH", name)
		return
	}
	if name := n.netdevsim(); name != "" {
		n.set("ID_NET_NAME_PATH", name)
		return
	}
	if name := n.xen(); name != "" {
		n.set("ID_NET_NAME_SLOT", name)
		return
	}
	names, ok := n.pci()
	if !ok {
		return
	}
	if names.isPCI {
		if names.board != "" {
			n.set("ID_NET_NAME_ONBOARD", names.board)
		}
		if names.hasLabel {
			if n.table.naming.has(namingLabelPlain) {
				if len(names.label) <= maxNetName {
					n.call.Set("ID_NET_LABEL_ONBOARD", names.label)
				}
			} else {
				n.set("ID_NET_LABEL_ONBOARD", names.label)
			}
		}
		if names.path != "" {
			n.set("ID_NET_NAME_PATH", names.path)
		}
		if names.slot != "" {
			n.set("ID_NET_NAME_SLOT", names.slot)
		}
		return
	}
	suffix, ok := n.usb()
	if !ok {
		suffix, ok = n.bcma()
	}
	if !ok {
		return
	}
	if names.path != "" {
		n.set("ID_NET_NAME_PATH", names.path, suffix)
	}
	if names.slot != "" {
		n.set("ID_NET_NAME_SLOT", names.slot, suffix)
	}
}

// skipVirtio returns the nearest device above that is no virtio device: there is one virtio bus a parent.
func skipVirtio(dev *hotplug.Device) *hotplug.Device {
	for dev != nil && dev.Subsystem() == "virtio" {
		dev = dev.Parent()
	}
	return dev
}

func (n *netNamer) ccw() string {
	dev := skipVirtio(n.dev.Parent())
	if dev == nil || dev.Subsystem() != "ccwgroup" && dev.Subsystem() != "ccw" {
		return ""
	}
	id := dev.Sysname()
	if len(id) != 8 && len(id) != 9 {
		return ""
	}
	short := strings.TrimLeft(id, ".0")
	if short == "" {
		short = id[len(id)-1:]
	}
	return "c" + short
}

func (n *netNamer) vio() string {
	if p := n.dev.Parent(); p == nil || p.Subsystem() != "vio" {
		return ""
	}
	var slot uint64
	s := scan(n.dev.Syspath())
	if !s.lit("/sys/devices/vio/").num(16, 4, new(uint64)).num(16, 4, &slot).lit("/net/eth").num(10, 0, new(uint64)).ok {
		return ""
	}
	return "v" + strconv.FormatUint(slot, 10)
}

// platform names what ACPI describes on ARM: /sys/devices/platform/HISI00C2:00, a vendor of 3 or 4 characters, a model,
// an instance.
func (n *netNamer) platform() string {
	if p := n.dev.Parent(); p == nil || p.Subsystem() != "platform" {
		return ""
	}
	rest, ok := strings.CutPrefix(n.dev.Syspath(), "/sys/devices/platform/")
	if !ok || len(rest) < 9 {
		return ""
	}
	width, digits := 3, false
	if rest[8] == ':' {
		width, digits = 4, true
	}
	vendor := rest[:width]
	for i := range len(vendor) {
		if c := vendor[i]; !(c >= 'A' && c <= 'Z' || digits && isDigit(c)) {
			return ""
		}
	}
	var model, instance uint64
	s := scan(rest[width:])
	if !s.num(16, 4, &model).lit(":").num(16, 2, &instance).lit("/net/eth").num(10, 0, new(uint64)).ok {
		return ""
	}
	return fmt.Sprintf("a%s%xi%d", strings.ToLower(vendor), model, instance)
}

func (n *netNamer) netdevsim() string {
	if !n.table.naming.has(namingNetdevsim) || n.port == "" {
		return ""
	}
	dev := n.dev.ParentWith("netdevsim", "")
	if dev == nil {
		return ""
	}
	var addr uint64
	s := scan(dev.Sysname())
	if !s.lit("netdevsim").num(10, 0, &addr).ok {
		return ""
	}
	return fmt.Sprintf("i%dn%s", addr, n.port)
}

func (n *netNamer) xen() string {
	if !n.table.naming.has(namingXenVIF) {
		return ""
	}
	if p := n.dev.Parent(); p == nil || p.Subsystem() != "xen" {
		return ""
	}
	rest, ok := strings.CutPrefix(n.dev.Devpath(), "/devices/vif-")
	if !ok {
		return ""
	}
	id, _, ok := strings.Cut(rest, "/")
	if !ok || len(id) > 1 && id[0] == '0' {
		return ""
	}
	if v, err := strconv.ParseUint(id, 10, 32); err != nil || strconv.FormatUint(v, 10) != id {
		return ""
	}
	return "X" + id
}

// usb names the ports on the way to a USB interface, the configuration unless it is the first, the interface unless it
// is number 0.
func (n *netNamer) usb() (string, bool) {
	dev := n.dev.ParentWith("usb", "usb_interface")
	if dev == nil {
		return "", false
	}
	_, rest, ok1 := strings.Cut(dev.Sysname(), "-")
	ports, rest, ok2 := strings.Cut(rest, ":")
	config, intf, ok3 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || !ok3 {
		return "", false
	}
	name := "u" + strings.ReplaceAll(ports, ".", "u")
	if config != "1" {
		name += "c" + config
	}
	if intf != "0" {
		name += "i" + intf
	}
	return name, true
}

func (n *netNamer) bcma() (string, bool) {
	dev := n.dev.ParentWith("bcma", "")
	if dev == nil {
		return "", false
	}
	var core uint64
	s := scan(dev.Sysname())
	if !s.lit("bcma").num(10, 0, new(uint64)).lit(":").num(10, 0, &core).ok {
		return "", false
	}
	if core == 0 {
		return "", true
	}
	return "b" + strconv.FormatUint(core, 10), true
}

// pci names the PCI device that the interface hangs at, or the nearest one above it. A virtual function is named after
// its physical function, with its number behind.
func (n *netNamer) pci() (netNames, bool) {
	var names netNames
	dev := skipVirtio(n.dev.Parent())
	if dev == nil {
		return names, false
	}
	if dev.Subsystem() == "pci" {
		names.isPCI = true
	} else if dev = n.dev.ParentWith("pci", ""); dev == nil {
		return names, false
	}
	if physical, suffix := n.virtualFunction(dev); physical != nil {
		var of netNames
		n.onboard(physical, &of)
		n.pciPath(physical, &of)
		for _, p := range []struct {
			to   *string
			from string
		}{{&names.board, of.board}, {&names.slot, of.slot}, {&names.path, of.path}} {
			if p.from != "" && len(p.from)+len(suffix) <= maxNetName {
				*p.to = p.from + suffix
			}
		}
		return names, true
	}
	n.onboard(dev, &names)
	n.pciPath(dev, &names)
	return names, true
}

func (n *netNamer) virtualFunction(dev *hotplug.Device) (*hotplug.Device, string) {
	if !n.table.naming.has(namingSRIOV) {
		return nil, ""
	}
	physical, err := dev.Link("physfn")
	if err != nil {
		return nil, ""
	}
	entries, err := physical.ReadDir("")
	if err != nil {
		return nil, ""
	}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e, "virtfn")
		if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		if f, err := physical.Link(e); err == nil && f.Devpath() == dev.Devpath() {
			return physical, "v" + digits
		}
	}
	return nil, ""
}

// portSuffix tells several ports of one function apart.
func (n *netNamer) portSuffix(port uint64) string {
	switch {
	case n.port != "":
		return "n" + n.port
	case port > 0:
		return "d" + strconv.FormatUint(port, 10)
	}
	return ""
}

// onboard is the firmware's number of the device: ACPI's _DSM, or SMBIOS type 41.
func (n *netNamer) onboard(pci *hotplug.Device, names *netNames) {
	text, err := pci.Attr("acpi_index")
	if err != nil {
		if text, err = pci.Attr("index"); err != nil {
			return
		}
	}
	index, err := parseUint(text, 0, 64)
	limit := uint64(1<<14 - 1) // what is higher is rubbish
	if n.table.naming.has(naming16BitIndex) {
		limit = 1<<16 - 1
	}
	if err != nil || index == 0 && !n.table.naming.has(namingZeroIndex) || index > limit {
		return
	}
	port, _ := parseUint(attr(n.dev, "dev_port"), 10, 64)
	names.board = "o" + strconv.FormatUint(index, 10) + n.portSuffix(port)
	if names.label, err = pci.Attr("label"); err == nil {
		names.hasLabel = true
	}
}

// pciPath makes names of the bus, slot and function numbers, and of the number of the hotplug slot.
func (n *netNamer) pciPath(pci *hotplug.Device, names *netNames) {
	var domain, bus, slot, function uint64
	s := scan(pci.Sysname())
	if !s.num(16, 0, &domain).lit(":").num(16, 0, &bus).lit(":").num(16, 0, &slot).lit(".").num(10, 0, &function).ok {
		return
	}
	if n.table.naming.has(namingARI) && attr(pci, "ari_enabled") == "1" {
		function += slot * 8 // ARI: slot and function are one number
	}
	port, _ := parseUint(attr(n.dev, "dev_port"), 10, 64)
	if port == 0 && n.kind == arpInfiniband {
		port, _ = parseUint(attr(n.dev, "dev_id"), 10, 64)
	}
	suffix := ""
	if function > 0 || isMultifunction(pci) {
		suffix = "f" + strconv.FormatUint(function, 10)
	}
	suffix += n.portSuffix(port)
	inDomain := func() string {
		if domain > 0 {
			return "P" + strconv.FormatUint(domain, 10)
		}
		return ""
	}
	names.path = fmt.Sprintf("%sp%ds%d%s", inDomain(), bus, slot, suffix)
	if len(names.path) > maxNetName {
		names.path = ""
	}
	number, plain := n.hotplugSlot(pci)
	if number == 0 {
		return
	}
	if plain {
		domain = 0
	}
	if names.slot = fmt.Sprintf("%ss%d%s", inDomain(), number, suffix); len(names.slot) > maxNetName {
		names.slot = ""
	}
}

// hotplugSlot finds the slot of the device or of the nearest PCI device above it that has one, 0 for none. plain means
// that the number stands for itself, without the domain.
func (n *netNamer) hotplugSlot(pci *hotplug.Device) (number uint64, plain bool) {
	roots := n.dev.Roots()
	const dir = "/sys/bus/pci/slots"
	slots, err := roots.ReadDir(dir)
	if err != nil {
		return 0, false
	}
	for at := pci; at != nil; at = at.ParentWith("pci", "") {
		if n.table.naming.has(namingSlotFunctionID) {
			if text, err := at.Attr("function_id"); err == nil { // s390: function and slot are one
				id, err := parseUint(text, 0, 64)
				if err != nil || id == 0 || id > 1<<32-1 {
					return 0, false
				}
				name := fmt.Sprintf("%08x", id)
				for _, s := range slots {
					if s == name {
						return id, true
					}
				}
				return 0, false
			}
		}
		for _, s := range slots {
			id, err := parseUint(s, 0, 32)
			if err != nil || id == 0 {
				continue
			}
			address, err := roots.ReadFile(dir + "/" + s + "/address")
			if err != nil || !strings.HasPrefix(at.Sysname(), strings.TrimRight(address, "\n")) {
				continue
			}
			// A bridge's slot would be claimed by every device behind it.
			if n.table.naming.has(namingBridgeNoSlot) && isBridge(at) {
				if !n.table.naming.has(namingBridgeMultifunction) || !isMultifunction(pci) {
					return 0, false
				}
			}
			return id, false
		}
	}
	return 0, false
}

// isMultifunction reads the header type in the configuration space: bit 7.
func isMultifunction(pci *hotplug.Device) bool {
	config, err := readBounded(sysPath(pci, "config"), 15)
	return err == nil && len(config) == 15 && config[14]&0x80 != 0
}

// isBridge reads the subclass in the modalias: pci:…bc06sc04i00.
func isBridge(pci *hotplug.Device) bool {
	modalias := attr(pci, "modalias")
	i := strings.LastIndexByte(modalias, 's')
	return strings.HasPrefix(modalias, "pci:") && i >= 0 && strings.HasPrefix(modalias[i:], "sc04")
}
