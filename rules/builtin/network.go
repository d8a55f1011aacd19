package builtin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelNetwork is the kernel's rtnetlink and ethtool.
type kernelNetwork struct{}

// ifinfo is struct ifinfomsg for one interface.
func ifinfo(ifindex int) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(ifindex))
	return b
}

func rtnl(kind netlink.HeaderType, flags netlink.HeaderFlags, body []byte) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: body})
}

// State asks the kernel for the interface.
func (kernelNetwork) State(ifindex int, name string) (LinkState, error) {
	var s LinkState
	msgs, err := rtnl(unix.RTM_GETLINK, 0, ifinfo(ifindex))
	if err != nil {
		return s, err
	}
	if len(msgs) == 0 {
		return s, unix.ENODEV
	}
	if err := s.parse(msgs[0].Data); err != nil {
		return s, err
	}
	if err := s.ethtool(name); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENODEV) {
		return s, err
	}
	return s, nil
}

// parse reads an RTM_NEWLINK message.
func (s *LinkState) parse(b []byte) error {
	if len(b) < unix.SizeofIfInfomsg {
		return errors.New("a message about an interface that is too short")
	}
	s.Type = int(binary.NativeEndian.Uint16(b[2:]))
	s.Flags = binary.NativeEndian.Uint32(b[8:])
	d, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return err
	}
	for d.Next() {
		switch d.Type() &^ unix.NLA_F_NESTED {
		case unix.IFLA_ADDRESS:
			s.Address = append([]byte(nil), d.Bytes()...)
		case unix.IFLA_PERM_ADDRESS:
			s.Permanent = append([]byte(nil), d.Bytes()...)
		case unix.IFLA_LINKINFO:
			d.Nested(func(in *netlink.AttributeDecoder) error {
				for in.Next() {
					if in.Type() == unix.IFLA_INFO_KIND {
						s.Kind = in.String()
					}
				}
				return nil
			})
		case unix.IFLA_PROP_LIST:
			d.Nested(func(in *netlink.AttributeDecoder) error {
				for in.Next() {
					if in.Type() == unix.IFLA_ALT_IFNAME {
						s.AltNames = append(s.AltNames, in.String())
					}
				}
				return nil
			})
		}
	}
	return d.Err()
}

// encode makes the attributes of RTM_SETLINK.
func (c LinkChange) encode() ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	if c.Alias != "" {
		e.String(unix.IFLA_IFALIAS, c.Alias)
	}
	if len(c.Address) > 0 {
		e.Bytes(unix.IFLA_ADDRESS, c.Address)
	}
	for _, f := range []struct {
		kind  uint16
		value *uint32
	}{{unix.IFLA_NUM_TX_QUEUES, c.TxQueues}, {unix.IFLA_NUM_RX_QUEUES, c.RxQueues}, {unix.IFLA_TXQLEN, c.TxQueueLength},
		{unix.IFLA_MTU, c.MTU}, {unix.IFLA_GSO_MAX_SIZE, c.GSOMaxSize}, {unix.IFLA_GSO_MAX_SEGS, c.GSOMaxSegs}} {
		if f.value != nil {
			e.Uint32(f.kind, *f.value)
		}
	}
	if c.Function != nil {
		e.Bytes(unix.IFLA_VFINFO_LIST|unix.NLA_F_NESTED, c.Function.encode())
	}
	return e.Encode()
}

// Change sends RTM_SETLINK, and RTM_NEWLINKPROP for alternative names.
func (kernelNetwork) Change(ifindex int, c LinkChange) error {
	attrs, err := c.encode()
	if err != nil {
		return err
	}
	var errs []error
	if len(attrs) > 0 {
		if _, err := rtnl(unix.RTM_SETLINK, netlink.Acknowledge, append(ifinfo(ifindex), attrs...)); err != nil {
			errs = append(errs, fmt.Errorf("set properties: %w", err))
		}
	}
	if len(c.AltNames) > 0 {
		if err := linkProperties(unix.RTM_NEWLINKPROP, ifindex, c.AltNames); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("add alternative names: %w", err))
		}
	}
	return errors.Join(errs...)
}

// linkProperties adds or removes alternative names, all or none.
func linkProperties(kind netlink.HeaderType, ifindex int, names []string) error {
	e := netlink.NewAttributeEncoder()
	e.Nested(unix.IFLA_PROP_LIST, func(in *netlink.AttributeEncoder) error {
		for _, n := range names {
			in.String(unix.IFLA_ALT_IFNAME, n)
		}
		return nil
	})
	attrs, err := e.Encode()
	if err != nil {
		return err
	}
	flags := netlink.Acknowledge
	if kind == unix.RTM_NEWLINKPROP {
		flags |= netlink.Create | netlink.Excl | netlink.Append
	}
	_, err = rtnl(kind, flags, append(ifinfo(ifindex), attrs...))
	return err
}

// Rename renames an interface. A name that the interface has as an alternative one is taken off it first, since the
// kernel lets no two be the same. The error satisfies errors.Is(err, unix.EEXIST) when another interface has the name.
func Rename(ifindex int, name string) error {
	set := func() error {
		e := netlink.NewAttributeEncoder()
		e.String(unix.IFLA_IFNAME, name)
		attrs, err := e.Encode()
		if err != nil {
			return err
		}
		_, err = rtnl(unix.RTM_SETLINK, netlink.Acknowledge, append(ifinfo(ifindex), attrs...))
		return err
	}
	err := set()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	msgs, stateErr := rtnl(unix.RTM_GETLINK, 0, ifinfo(ifindex))
	if stateErr != nil || len(msgs) == 0 {
		return err
	}
	var s LinkState
	if s.parse(msgs[0].Data) != nil {
		return err
	}
	for _, n := range s.AltNames {
		if n != name {
			continue
		}
		if delErr := linkProperties(unix.RTM_DELLINKPROP, ifindex, []string{name}); delErr != nil {
			return delErr
		}
		if err = set(); err != nil {
			_ = linkProperties(unix.RTM_NEWLINKPROP, ifindex, []string{name})
		}
		return err
	}
	return err
}

// NetworkRecorder answers as the kernel does and changes nothing: it tells what would be changed.
type NetworkRecorder struct {
	Network                   // asked for states; nil is the kernel
	Tell    func(what string) // nil for nobody
}

func (r NetworkRecorder) State(ifindex int, name string) (LinkState, error) {
	if r.Network == nil {
		return kernelNetwork{}.State(ifindex, name)
	}
	return r.Network.State(ifindex, name)
}

func (r NetworkRecorder) Change(ifindex int, c LinkChange) error {
	if r.Tell != nil {
		text := fmt.Sprintf("interface %d:", ifindex)
		if len(c.Address) > 0 {
			text += fmt.Sprintf(" address %x", c.Address)
		}
		if c.Alias != "" {
			text += " alias " + c.Alias
		}
		for _, f := range []struct {
			name  string
			value *uint32
		}{{"mtu", c.MTU}, {"transmit queues", c.TxQueues}, {"receive queues", c.RxQueues}, {"transmit queue length", c.TxQueueLength},
			{"gso bytes", c.GSOMaxSize}, {"gso segments", c.GSOMaxSegs}} {
			if f.value != nil {
				text += fmt.Sprintf(" %s %d", f.name, *f.value)
			}
		}
		for _, n := range c.AltNames {
			text += " alternative name " + n
		}
		if c.Function != nil {
			text += " " + c.Function.String()
		}
		r.Tell(text)
	}
	return nil
}

func (r NetworkRecorder) Ethtool(name string, s EthtoolSetting) error {
	if r.Tell != nil {
		r.Tell("interface " + name + ": " + s.String())
	}
	return nil
}

var _ Network = NetworkRecorder{}

// NoNetwork is the Network of a /sys that another directory stands for: its interfaces are none of this machine's.
type NoNetwork struct{}

func (NoNetwork) State(int, string) (LinkState, error)        { return LinkState{}, unix.ENODEV }
func (NoNetwork) Change(int, LinkChange) error                { return unix.ENODEV }
func (NoNetwork) Ethtool(name string, _ EthtoolSetting) error { return unix.ENODEV }

// ethtoolError names the request.
func ethtoolError(what string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError("ethtool "+what, err)
}
