package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// QMP is QEMU's machine protocol: it plugs devices in and pulls them out. It is safe for concurrent use.
//
// See docs/interop/qmp-spec in QEMU's source.
type QMP struct {
	conn net.Conn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan qmpAnswer
	events  map[chan QMPEvent]bool
	err     error // why the connection has ended
}

// QMPEvent is something that QEMU says by itself, such as DEVICE_DELETED.
type QMPEvent struct {
	Event string
	Data  map[string]any
}

type qmpAnswer struct {
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
}

func newQMP(ctx context.Context, conn net.Conn) (*QMP, error) {
	q := &QMP{conn: conn, waiting: map[uint64]chan qmpAnswer{}, events: map[chan QMPEvent]bool{}}
	go q.read()
	if _, err := q.Execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *QMP) read() {
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var message struct {
			qmpAnswer
			ID uint64
			QMPEvent
		}
		if json.Unmarshal(lines.Bytes(), &message) != nil {
			continue
		}
		q.mu.Lock()
		switch {
		case message.Event != "":
			for c := range q.events {
				select {
				case c <- message.QMPEvent:
				default: // who asked for events does not read them
				}
			}
		case q.waiting[message.ID] != nil:
			q.waiting[message.ID] <- message.qmpAnswer
			delete(q.waiting, message.ID)
		}
		q.mu.Unlock()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = errors.New("QEMU has ended")
	for id, c := range q.waiting {
		close(c)
		delete(q.waiting, id)
	}
	for c := range q.events {
		close(c)
		delete(q.events, c)
	}
}

// Execute runs one command and returns what it returns.
func (q *QMP) Execute(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	answer := make(chan qmpAnswer, 1)
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return nil, fmt.Errorf("qmp %s: %w", command, q.err)
	}
	q.last++
	id := q.last
	q.waiting[id] = answer
	q.mu.Unlock()
	if arguments == nil {
		arguments = map[string]any{}
	}
	line, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments, "id": id})
	if err != nil {
		return nil, err
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case a, ok := <-answer:
		if !ok {
			return nil, fmt.Errorf("qmp %s: QEMU has ended", command)
		}
		if a.Error != nil {
			return nil, fmt.Errorf("qmp %s: %s", command, a.Error.Desc)
		}
		return a.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
}

// Plug puts a device into the running machine; its id is what Unplug takes. A drive that it names must be there already: see Drive.
func (q *QMP) Plug(ctx context.Context, d Device) error {
	arguments := map[string]any{"driver": d.Driver, "id": d.ID}
	for k, v := range d.properties() {
		arguments[k] = v
	}
	_, err := q.Execute(ctx, "device_add", arguments)
	return err
}

// Unplug asks the guest to let a device go and waits until QEMU says that it is gone: the guest's kernel takes part for PCI.
func (q *QMP) Unplug(ctx context.Context, id string) error {
	events, stop := q.Events()
	defer stop()
	if _, err := q.Execute(ctx, "device_del", map[string]any{"id": id}); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return fmt.Errorf("unplug %s: QEMU has ended", id)
			}
			if e.Event == "DEVICE_DELETED" && e.Data["device"] == id {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("unplug %s: the guest does not let it go: %w", id, ctx.Err())
		}
	}
}

// Events returns a channel of what QEMU says from now on, and a function that ends it. The channel is closed when QEMU ends.
func (q *QMP) Events() (<-chan QMPEvent, func()) {
	c := make(chan QMPEvent, 64)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		close(c)
		return c, func() {}
	}
	q.events[c] = true
	return c, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.events, c)
	}
}
