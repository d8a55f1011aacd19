package modload

import "sync/atomic"

// An interner keeps strings by their offset in a file, so that names outlive the file. It only grows, by no more than the file holds; it is
// read without a lock. Its table is made in pieces, as they are needed: whoever asks once pays for one.
type interner struct {
	top atomic.Pointer[[256]atomic.Pointer[internPage]]
}

type internPage [32]atomic.Pointer[interned]

type interned struct {
	offset uint32
	text   string
	next   *interned
}

func (in *interner) get(offset uint32) (string, bool) {
	top := in.top.Load()
	if top == nil {
		return "", false
	}
	hash := offset * 0x9E3779B1
	page := top[hash>>24].Load()
	if page == nil {
		return "", false
	}
	for e := page[hash>>19&31].Load(); e != nil; e = e.next {
		if e.offset == offset {
			return e.text, true
		}
	}
	return "", false
}

func (in *interner) put(offset uint32, text string) string {
	if in.top.Load() == nil {
		in.top.CompareAndSwap(nil, new([256]atomic.Pointer[internPage]))
	}
	hash := offset * 0x9E3779B1
	page := &in.top.Load()[hash>>24]
	if page.Load() == nil {
		page.CompareAndSwap(nil, new(internPage))
	}
	slot := &page.Load()[hash>>19&31]
	for {
		head := slot.Load()
		if s, ok := in.get(offset); ok {
			return s
		}
		if slot.CompareAndSwap(head, &interned{offset, text, head}) {
			return text
		}
	}
}
