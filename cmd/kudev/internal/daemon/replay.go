package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
)

// Coldplug replays every device and waits until all is done: the disks, and what they are behind, first; then the rest.
// The account is returned in any case; the error says that the daemon ends, or that /sys cannot be walked.
func (d *Daemon) Coldplug(ctx context.Context, o WaitOptions) (*Account, error) {
	d.journal.Note("coldplug began")
	a, err := d.waitUntil(ctx, o, func(ctx context.Context, t *tally) error { return d.coldplug(ctx, t, o) })
	if err == nil {
		d.journal.Note(a.Summary())
		if !d.opts.Transient { // whose caller prints it
			d.log.Info(a.Summary())
		}
	}
	if !d.opts.Transient { // which ends; nobody waits for this
		d.workers.Go(freeMemory)
	}
	return a, err
}

// coldplugging is the claim of unfinished work that a coldplug has, its own settles left out: who asks meanwhile whether all is
// done waits for what it has not announced yet.
const coldplugging = "a coldplug"

func (d *Daemon) coldplug(ctx context.Context, t *tally, o WaitOptions) error {
	defer d.queue.Hold(coldplugging)()
	d.coldplugs.Add(1)
	defer d.coldplugs.Add(-1)
	items, err := coldplug.Walk(ctx, d.opts.Roots, coldplug.All)
	if err != nil {
		return err
	}
	first := 0
	for first < len(items) && items[first].Rank <= coldplug.RankTPM {
		first++
	}
	d.later.begin()
	end := sync.OnceFunc(d.later.end)
	defer end()
	if err := d.announce(ctx, t, items[:first]); err != nil {
		return err
	}
	// Whoever waits for one disk does so until the kernel has nothing more to tell of disks.
	if err := d.settleDisks(ctx, o.WaitFor != ""); err != nil {
		return err
	}
	d.journal.Note("coldplug: the disks are there")
	end()
	if err := d.announce(ctx, t, items[first:]); err != nil {
		return err
	}
	return d.settle(ctx, t, coldplugging)
}

// announce asks the kernel to announce the devices again.
func (d *Daemon) announce(ctx context.Context, t *tally, items []coldplug.Item) error {
	trigger := coldplug.Trigger{Action: "add", UUID: hotplug.NewUUID(), Args: []string{"KUDEVCOLDPLUG=1"}, Write: d.opts.Announce}
	rep, err := trigger.Run(ctx, d.opts.Roots, items)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account.Triggered += rep.Triggered
	t.account.Vanished += len(rep.Vanished)
	for _, f := range rep.Failed {
		d.log.Warn(f.Error())
		t.account.Failed = addName(t.account.Failed, f.Error())
	}
	return err
}

// Summary is the account as one line.
func (a *Account) Summary() string {
	ms := func(m Micros) string { return m.Duration().Round(time.Millisecond).String() }
	s := ""
	if a.Triggered > 0 {
		s = fmt.Sprintf("%d devices announced, ", a.Triggered)
	}
	s += fmt.Sprintf("%d events, %d modules loaded in %s; waited %s for the kernel", a.Events, a.Modules, ms(a.Took), waitedFor(a.Kernel))
	for i, w := range a.Waited {
		if i == 3 {
			s += fmt.Sprintf(" and %d more", len(a.Waited)-3)
			break
		}
		if i == 0 {
			s += ": "
		} else {
			s += ", "
		}
		s += w.What + " (" + ms(w.Took) + ")"
	}
	return s
}

func waitedFor(m Micros) string {
	return fmt.Sprintf("%d ms", m.Duration().Milliseconds())
}
