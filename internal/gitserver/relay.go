package gitserver

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"sync/atomic"
)

// relay copies what receive-pack says to the client, each packet as it comes: the hook's lines, and the empty ones that
// git sends while the hook is silent. In the report at the end it puts the reason of a refusal in the place of git's
// "pre-receive hook declined", which tells nobody anything. reported says whether there was a report: a git that was
// killed leaves none. What git says about a push that was cut is dropped, its report too.
func (h *head) relay(w io.Writer, from io.Reader, cut *atomic.Bool, reason func() string) (reported bool, err error) {
	r := bufio.NewReaderSize(from, maxPacket)
	if !h.sideband {
		n, err := io.Copy(w, r)
		return n > 0, err
	}
	var report bytes.Buffer
	for {
		raw, end, err := readPacket(r)
		switch {
		case err != nil: // git was killed: the caller has an answer for that
			_, err := io.Copy(io.Discard, r)
			return false, err
		case cut.Load():
		case end:
			return true, h.data(w, reword(report.Bytes(), reason))
		case len(raw) > 5 && raw[4] == bandData:
			report.Write(raw[5:]) // as long as the commands were
		default:
			if _, err := w.Write(raw); err != nil {
				return false, err
			}
		}
	}
}

const declined = "pre-receive hook declined"

// reword gives refs that the hook declined a reason, in a report. A report that it cannot read stays as it is.
func reword(report []byte, reason func() string) []byte {
	if !bytes.Contains(report, []byte(declined+"\n")) {
		return report
	}
	var out bytes.Buffer
	for r := bytes.NewReader(report); ; {
		raw, end, err := readPacket(r)
		if err != nil {
			return report
		}
		if end {
			out.WriteString(flush)
			return out.Bytes()
		}
		line := strings.TrimSuffix(string(raw[4:]), "\n")
		if ref, ok := strings.CutSuffix(line, declined); ok && strings.HasPrefix(line, "ng ") {
			line = ref + reason()
		}
		packet(&out, []byte(line+"\n")) // a Buffer takes all
	}
}
