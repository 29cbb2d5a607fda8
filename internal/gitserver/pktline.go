package gitserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A packet of git's protocol: four hexadecimal digits of length, which count themselves, and the payload.
const (
	maxPacket  = 65520
	maxPayload = maxPacket - 4
	flush      = "0000"
)

// The bands of a multiplexed answer.
const (
	bandData  = 1
	bandText  = 2 // is printed behind "remote: "
	bandFatal = 3
)

func packet(w io.Writer, payload []byte) error {
	_, err := w.Write(append(fmt.Appendf(make([]byte, 0, 4+len(payload)), "%04x", len(payload)+4), payload...))
	return err
}

// readPacket reads one packet; end tells that it was a flush, which has no payload. raw is the packet with its length.
func readPacket(r io.Reader) (raw []byte, end bool, err error) {
	raw = make([]byte, 4)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, false, err
	}
	n, err := strconv.ParseUint(string(raw), 16, 16)
	switch {
	case err != nil || n > maxPacket || 0 < n && n < 4:
		return raw, false, fmt.Errorf("%s is no length of a git packet", quote(string(raw)))
	case n == 0:
		return raw, true, nil
	}
	raw = append(raw, make([]byte, n-4)...)
	if _, err := io.ReadFull(r, raw[4:]); err != nil {
		return raw[:4], false, fmt.Errorf("read a git packet: %w", unexpected(err))
	}
	return raw, false, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A head is the first part of a push: which refs, from what to what. It is read before git sees any of it.
type head struct {
	raw      []byte // as it came
	commands []command
	options  []string // of `git push -o`
	shallow  []Hash   // commits whose parents the client does not have
	sideband bool     // the client demultiplexes what we say
	report   bool     // the client wants to know how each ref fared
	more     bool     // options follow the commands
}

// A command is an update that was not looked at yet.
type command struct {
	old, new Hash
	name     string
}

// maxHead is room for a hundred refs and the boundary of a very ragged shallow clone.
const maxHead = 1 << 20

// readHead reads to the flush after the commands, and after the options where the client says that it has some. A push
// without commands is the question whether we are there.
func readHead(r io.Reader) (h head, err error) {
	if err := h.read(r, h.add); err != nil {
		return h, fmt.Errorf("read the commands of a push: %w", err)
	}
	if h.more {
		err = h.read(r, func(option string) error {
			h.options = append(h.options, option)
			return nil
		})
	}
	if err != nil {
		return h, fmt.Errorf("read the options of a push: %w", err)
	}
	return h, nil
}

// read reads packets to a flush.
func (h *head) read(r io.Reader, add func(line string) error) error {
	for {
		raw, end, err := readPacket(r)
		if err != nil {
			return unexpected(err)
		}
		if h.raw = append(h.raw, raw...); len(h.raw) > maxHead {
			return fmt.Errorf("there are more than %d bytes", maxHead)
		}
		if end {
			return nil
		}
		if err := add(strings.TrimSuffix(string(raw[4:]), "\n")); err != nil {
			return err
		}
	}
}

func (h *head) add(line string) error {
	if s, ok := strings.CutPrefix(line, "shallow "); ok {
		commit, err := ParseHash(s)
		if err != nil {
			return err
		}
		h.shallow = append(h.shallow, commit)
		return nil
	}
	if len(h.commands) == 0 {
		var capabilities string
		line, capabilities, _ = strings.Cut(line, "\x00")
		words := strings.Fields(capabilities)
		h.sideband = slices.Contains(words, "side-band-64k")
		h.more = slices.Contains(words, "push-options")
		h.report = slices.Contains(words, "report-status") || slices.Contains(words, "report-status-v2")
	}
	from, rest, _ := strings.Cut(line, " ")
	to, name, ok := strings.Cut(rest, " ")
	if !ok {
		return fmt.Errorf("%s is no command", quote(line))
	}
	before, err := ParseHash(from)
	if err != nil {
		return err
	}
	after, err := ParseHash(to)
	if err != nil {
		return err
	}
	h.commands = append(h.commands, command{before, after, name})
	return nil
}

// updates are the commands, looked at.
func (h *head) updates() (updates []Update, err error) {
	for _, c := range h.commands {
		ref, err := ParseRef(c.name)
		if err != nil {
			return nil, err
		}
		updates = append(updates, Update{ref, c.old, c.new})
	}
	return updates, nil
}

// say prints lines on the client's terminal. Each may hold anything but a newline.
func (h *head) say(w io.Writer, lines ...string) error {
	if !h.sideband {
		return nil
	}
	for _, line := range lines {
		text := append([]byte{bandText}, line[:min(len(line), 4000)]...)
		if err := packet(w, append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// answer is a whole answer to a push that git does not see, or did not answer: nothing is taken, because of r.
func (h *head) answer(w io.Writer, r *Refusal) error {
	if err := h.say(w, r.lines()...); err != nil {
		return err
	}
	var report bytes.Buffer
	if h.report {
		packet(&report, []byte("unpack ok\n")) // a Buffer takes all
		for _, c := range h.commands {
			if !strings.ContainsFunc(c.name, unicode.IsControl) { // the client only looks the name up
				packet(&report, []byte("ng "+c.name+" "+r.Reason+"\n"))
			}
		}
		report.WriteString(flush)
	}
	return h.data(w, report.Bytes())
}

// data ends an answer: a report, in the data band where there are bands.
func (h *head) data(w io.Writer, report []byte) error {
	if !h.sideband {
		_, err := w.Write(report)
		return err
	}
	for part := range slices.Chunk(report, maxPayload-1) {
		if err := packet(w, append([]byte{bandData}, part...)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, flush)
	return err
}

// lines are a refusal as it is printed.
func (r *Refusal) lines() []string {
	out := []string{""}
	for _, l := range r.Lines {
		out = append(out, " !     "+l)
	}
	return append(out, "")
}
