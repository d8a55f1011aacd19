package builtin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// VirtualFunction is what an [SR-IOV] section sets of one of a card's virtual functions. See systemd.link(5).
type VirtualFunction struct {
	Number       int64             // -1 for none given
	Address      []byte            // nil: as it is
	VLAN, QoS    uint32            // no VLAN: as it is
	VLANProtocol uint16            // of the kernel's ETH_P_…
	Switches     map[uint16]uint32 // values of IFLA_VF_SPOOFCHK, _RSS_QUERY_EN, _TRUST, _LINK_STATE

	at LinkProblem // its section
}

// switches are the attributes of a virtual function that are a number, in the order in which they are sent.
var switches = [...]struct {
	key       string
	attribute uint16
}{{"MACSpoofCheck", unix.IFLA_VF_SPOOFCHK}, {"QueryReceiveSideScaling", unix.IFLA_VF_RSS_QUERY_EN}, {"Trust", unix.IFLA_VF_TRUST},
	{"LinkState", unix.IFLA_VF_LINK_STATE}}

// assign takes one line of the section; an empty value takes back what was said before.
func (v *VirtualFunction) assign(key, value string) error {
	number := func(limit uint64) (uint32, error) {
		n, err := strconv.ParseUint(value, 10, 32)
		if value == "" {
			return 0, nil
		}
		if err != nil || n > limit {
			return 0, strconv.ErrRange
		}
		return uint32(n), nil
	}
	for _, s := range switches {
		if s.key != key {
			continue
		}
		on, ok := parseBool(value)
		switch {
		case value == "":
			delete(v.Switches, s.attribute)
			return nil
		case key == "LinkState" && value == "auto":
			on = unix.IFLA_VF_LINK_STATE_AUTO
		case !ok:
			return errNotBool
		case key == "LinkState" && on == 0:
			on = unix.IFLA_VF_LINK_STATE_DISABLE
		}
		if v.Switches == nil {
			v.Switches = map[uint16]uint32{}
		}
		v.Switches[s.attribute] = on
		return nil
	}
	switch key {
	case "VirtualFunction":
		n, err := number(1<<31 - 2)
		if err != nil {
			return err
		}
		if v.Number = int64(n); value == "" {
			v.Number = -1
		}
	case "VLANId":
		n, err := number(4095)
		if err != nil || n == 0 && value != "" {
			return strconv.ErrRange
		}
		v.VLAN = n
	case "QualityOfService":
		n, err := number(1<<32 - 1)
		if err != nil {
			return err
		}
		v.QoS = n
	case "VLANProtocol":
		switch value {
		case "", "802.1Q":
			v.VLANProtocol = unix.ETH_P_8021Q
		case "802.1ad":
			v.VLANProtocol = unix.ETH_P_8021AD
		default:
			return errors.New("neither 802.1Q nor 802.1ad")
		}
	case "MACAddress":
		if value == "" {
			v.Address = nil
			return nil
		}
		address, err := parseMAC(value)
		if err != nil || len(address) != 6 {
			return errors.New("not a hardware address")
		}
		v.Address = address
	default:
		return errors.New("unknown key")
	}
	return nil
}

// checkFunctions drops the sections that say of no function, of one beyond those that the file asks for, or of one that a
// later section says more of.
func (f *LinkFile) checkFunctions() {
	count := int64(1<<32 - 1)
	if n, ok := f.functionCount(); ok {
		count = n
	}
	kept := f.Functions[:0]
	for i, v := range f.Functions {
		later := 0
		for _, w := range f.Functions[i+1:] {
			if w.Number == v.Number {
				later = w.at.Line
			}
		}
		switch {
		case v.Number < 0:
			v.at.Message = "it has no VirtualFunction="
		case v.Number >= count:
			v.at.Message = fmt.Sprintf("there is no function %d of %d", v.Number, count)
		case later > 0:
			v.at.Message = fmt.Sprintf("line %d is about the same function", later)
		default:
			kept = append(kept, v)
			continue
		}
		v.at.Message = "[SR-IOV] does not count: " + v.at.Message
		f.Problems = append(f.Problems, v.at)
	}
	f.Functions = kept
}

// functionCount returns SR-IOVVirtualFunctions=.
func (f *LinkFile) functionCount() (int64, bool) {
	n, err := strconv.ParseUint(f.value("SR-IOVVirtualFunctions"), 10, 31)
	return int64(n), err == nil
}

const numberOfFunctions, mostFunctions = "device/sriov_numvfs", "device/sriov_totalvfs"

// virtualFunctions makes as many of them as the file has or asks for, and sets them up.
func (t *Table) virtualFunctions(call *Call, f *LinkFile) {
	text := f.value("SR-IOVVirtualFunctions")
	if text == "" && len(f.Functions) == 0 {
		return
	}
	dev := call.Device
	want, given := f.functionCount()
	if text != "" && !given {
		call.warn("a setting of a .link file does not count", "problem", f.problem("SR-IOVVirtualFunctions", strconv.ErrRange.Error()))
	}
	have, err := strconv.ParseInt(attr(dev, numberOfFunctions), 10, 64)
	if !given {
		for _, v := range f.Functions {
			want = max(want, v.Number+1)
		}
		if want <= have || err != nil {
			want = have
		}
	}
	if want != have && !t.opts.DryRun {
		if err := setFunctions(call, want); err != nil {
			call.warn("cannot set the number of virtual functions", "file", f.Path, "err", err)
		} else {
			have = want
		}
	}
	for _, v := range f.Functions {
		if v.Number >= have {
			v.at.Message = fmt.Sprintf("the device has no function %d, but %d", v.Number, max(have, 0))
			call.warn("an [SR-IOV] section of a .link file does not count", "problem", v.at.String())
			continue
		}
		if err := t.opts.Network.Change(dev.Ifindex(), LinkChange{Function: &v}); err != nil {
			call.warn("cannot set up a virtual function", "file", f.Path, "function", v.Number, "err", err)
		}
	}
}

// setFunctions writes how many there are to be. Some devices refuse unless there are none.
func setFunctions(call *Call, n int64) error {
	dev := call.Device
	if most, err := strconv.ParseInt(attr(dev, mostFunctions), 10, 64); err == nil && n > most {
		return fmt.Errorf("%d is more than the %d that the device can have", n, most)
	}
	if n == 0 && !hasAttr(dev, numberOfFunctions) {
		return nil
	}
	err := dev.SetAttr(numberOfFunctions, strconv.FormatInt(n, 10))
	if errors.Is(err, unix.EBUSY) {
		if err = dev.SetAttr(numberOfFunctions, "0"); err == nil {
			err = dev.SetAttr(numberOfFunctions, strconv.FormatInt(n, 10))
		}
	}
	return err
}

// attribute makes one attribute of rtnetlink; the bodies have lengths that need no padding.
func attribute(kind uint16, bodies ...[]byte) []byte {
	b := make([]byte, 4, 64)
	binary.NativeEndian.PutUint16(b[2:], kind)
	for _, body := range bodies {
		b = append(b, body...)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	return b
}

// encode makes IFLA_VFINFO_LIST of an RTM_SETLINK message. Kernel: include/uapi/linux/if_link.h.
func (v *VirtualFunction) encode() []byte {
	words := func(n ...uint32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(v.Number))
		for _, n := range n {
			b = binary.NativeEndian.AppendUint32(b, n)
		}
		return b
	}
	var info []byte
	if v.Address != nil {
		info = attribute(unix.IFLA_VF_MAC, words(), v.Address, make([]byte, 32-len(v.Address)))
	}
	for _, s := range switches {
		if n, ok := v.Switches[s.attribute]; ok {
			info = append(info, attribute(s.attribute, words(n))...)
		}
	}
	if v.VLAN > 0 {
		vlan := attribute(unix.IFLA_VF_VLAN_INFO, words(v.VLAN, v.QoS), []byte{byte(v.VLANProtocol >> 8), byte(v.VLANProtocol), 0, 0})
		info = append(info, attribute(unix.IFLA_VF_VLAN_LIST|unix.NLA_F_NESTED, vlan)...)
	}
	return attribute(unix.IFLA_VF_INFO|unix.NLA_F_NESTED, info)
}

func (v *VirtualFunction) String() string {
	return fmt.Sprintf("function %d: address %x, vlan %d, qos %d, protocol %#x, switches %v", v.Number, v.Address, v.VLAN, v.QoS, v.VLANProtocol, v.Switches)
}
