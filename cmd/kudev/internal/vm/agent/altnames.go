//go:build linux

package main

import (
	"encoding/binary"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// alternativeName is a name that an interface has besides its own.
type alternativeName struct {
	index int
	of    string // its own name
	name  string
}

// alternativeNames asks the kernel for those of all interfaces. Kernel: net/core/rtnetlink.c, rtnl_fill_prop_list.
func alternativeNames() (all []alternativeName, err error) {
	data, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(data)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		index := int(binary.NativeEndian.Uint32(m.Data[4:]))
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, err
		}
		own := ""
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				own = strings.TrimRight(string(a.Value), "\x00")
			}
			if a.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_PROP_LIST {
				continue
			}
			for list := a.Value; len(list) > 4; {
				length := int(binary.NativeEndian.Uint16(list))
				if length < 4 || length > len(list) {
					break
				}
				if binary.NativeEndian.Uint16(list[2:]) == unix.IFLA_ALT_IFNAME {
					all = append(all, alternativeName{index, own, strings.TrimRight(string(list[4:length]), "\x00")})
				}
				list = list[min((length+3)&^3, len(list)):]
			}
		}
	}
	return all, nil
}

// drop takes the name away.
func (n alternativeName) drop() error {
	attribute := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(n.index))
	body = append(body, attribute(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, attribute(unix.IFLA_ALT_IFNAME, append([]byte(n.name), 0)))...)
	message := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	message = binary.NativeEndian.AppendUint16(message, unix.RTM_DELLINKPROP)
	message = binary.NativeEndian.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	message = append(append(message, make([]byte, 8)...), body...)

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	got, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if got >= unix.SizeofNlMsghdr+4 {
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code < 0 {
			return unix.Errno(-code)
		}
	}
	return nil
}
