package job

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

const (
	randomChars = 16 // 80 bits
	homeChars   = 10 // 50 bits
	idChars     = 1 + randomChars + homeChars
)

const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

func encode(b []byte) string {
	return base32.NewEncoding(alphabet).WithPadding(base32.NoPadding).EncodeToString(b)
}

// NewID names a task whose home is the given node.
func NewID(random [10]byte, home shoal.PeerID) shoal.TaskID {
	return shoal.TaskID("t" + encode(random[:]) + HomeTag(home))
}

// HomeTag is the part of a task's name that stands for its home.
func HomeTag(p shoal.PeerID) string {
	h := sha256.Sum256([]byte("shoal task home\x00" + p))
	return encode(h[:7])[:homeChars]
}

// Sub names task n of a job.
func Sub(job shoal.TaskID, n int) shoal.TaskID {
	return job + shoal.TaskID("/"+strconv.Itoa(n))
}

// Top returns the job that a task belongs to, or the task itself when it stands alone.
func Top(id shoal.TaskID) shoal.TaskID {
	top, _, _ := strings.Cut(string(id), "/")
	return shoal.TaskID(top)
}

// Home returns the tag of the task's home.
func Home(id shoal.TaskID) (string, error) {
	if err := Check(id); err != nil {
		return "", err
	}
	return string(id)[1+randomChars : idChars], nil
}

// Check says whether id is a task's name.
func Check(id shoal.TaskID) error {
	top, sub, isSub := strings.Cut(string(id), "/")
	bad := func(why string) error {
		shown := string(id)
		if len(shown) > 60 {
			shown = shown[:57] + "..."
		}
		return shoal.E(shoal.Invalid, "task "+strconv.Quote(shown), why,
			"a task is named by 't' and 26 letters and digits; list them with 'shoal task ls'")
	}
	switch {
	case len(top) != idChars:
		return bad("not a task's name: " + strconv.Itoa(len(top)) + " characters instead of " + strconv.Itoa(idChars))
	case top[0] != 't':
		return bad("not a task's name: it does not begin with 't'")
	case strings.Trim(top, alphabet) != "":
		return bad("not a task's name: a character outside a-z and 2-7")
	case isSub:
		n, err := strconv.Atoi(sub)
		if err != nil || n < 0 || strconv.Itoa(n) != sub || len(sub) > 9 {
			return bad("not a task's name: after the slash a number is expected")
		}
	}
	return nil
}

// FileName is the task's name fit for a file.
func FileName(id shoal.TaskID) string { return strings.ReplaceAll(string(id), "/", ".") }
