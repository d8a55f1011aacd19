package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestQMPUnplugWaitsUntilTheDeviceIsGone(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() { // what QEMU says
		fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		lines := bufio.NewScanner(theirs)
		for lines.Scan() {
			var c struct {
				Execute   string
				Arguments map[string]any
				ID        uint64
			}
			json.Unmarshal(lines.Bytes(), &c)
			switch {
			case c.Execute == "device_add" && c.Arguments["port"] == "2" && c.Arguments["logical"] == true && c.Arguments["addr"] == 3.0,
				c.Execute == "qmp_capabilities", c.Execute == "device_del" && c.Arguments["id"] == "new":
				fmt.Fprintf(theirs, `{"return": {}, "id": %d}`+"\n", c.ID)
			default:
				fmt.Fprintf(theirs, `{"error": {"class": "GenericError", "desc": "no such thing"}, "id": %d}`+"\n", c.ID)
			}
			if c.Execute == "device_del" {
				fmt.Fprintln(theirs, `{"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/new/port"}}`)
				fmt.Fprintln(theirs, `{"event": "DEVICE_DELETED", "data": {"device": "new"}}`)
			}
		}
	}()
	q, err := newQMP(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Plug(t.Context(), Device{Driver: "usb-kbd", ID: "new", Props: "port=2,logical=on,addr=3"}); err != nil {
		t.Error(err)
	}
	if err := q.Unplug(t.Context(), "new"); err != nil {
		t.Error(err)
	}
	if _, err := q.Execute(t.Context(), "nonsense", nil); err == nil || !strings.Contains(err.Error(), "qmp nonsense: no such thing") {
		t.Errorf("got %v", err)
	}
	theirs.Close()
	if _, err := q.Execute(t.Context(), "late", nil); err == nil {
		t.Error("no error once QEMU has ended")
	}
}
