package daemon

import (
	"context"
	"sync"
	"testing"
)

func TestTheJournalKeepsTheLastEntriesInOrder(t *testing.T) {
	j := NewJournal()
	for range journalSize + 10 {
		j.Add(&Entry{Type: "event"})
	}
	list := j.After(0)
	if len(list) != journalSize || list[0].N != 11 || list[journalSize-1].N != journalSize+10 {
		t.Errorf("%d entries, %d to %d", len(list), list[0].N, list[len(list)-1].N)
	}
	for i, e := range list {
		if e.N != list[0].N+uint64(i) {
			t.Fatalf("entry %d has number %d", i, e.N)
		}
	}
	if got := j.After(journalSize + 8); len(got) != 2 || got[0].N != journalSize+9 {
		t.Errorf("the last two: %v", got)
	}
	if got := j.After(journalSize + 10); got != nil {
		t.Errorf("behind the last: %v", got)
	}
}

func TestAWatcherSeesEachEntryOnce(t *testing.T) {
	j := NewJournal()
	j.Note("before")
	w := j.Watch(j.Len())
	defer w.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				j.Note("x")
			}
		})
	}
	seen := map[uint64]bool{}
	for len(seen) < 400 {
		list, err := w.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if seen[e.N] || e.N == 1 {
				t.Fatalf("entry %d twice, or from before", e.N)
			}
			seen[e.N] = true
		}
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Next(ctx); err == nil {
		t.Error("a watcher with nothing to see does not end with its context")
	}
}
