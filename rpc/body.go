package rpc

import "io"

// Read implements io.Reader. The end of a whole body is io.EOF; a stream that broke gives an
// *shoal.Error.
func (s *stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if err := s.ready(); err != nil {
		return 0, err
	}
	n, err := s.in.Read(b[:min(len(b), s.left)])
	s.took(n)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, s.cut(noEOF(err))
}

// WriteTo implements io.WriterTo, in pieces as large as the records.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	done := int64(0)
	for {
		n, err := s.next(&b)
		if n > 0 {
			k, failed := w.Write(b[:n])
			done += int64(k)
			if failed != nil {
				return done, failed
			}
		}
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

// next reads what is left of a record into b, which it may replace by a larger one.
func (s *stream) next(b *[]byte) (int, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if err := s.ready(); err != nil {
		return 0, err
	}
	if len(*b) < s.left {
		*b = make([]byte, s.left)
	}
	n, err := io.ReadFull(s.in, (*b)[:s.left])
	s.took(n)
	if err != nil {
		err = s.cut(noEOF(err))
	}
	return n, err
}

// ready waits until there are bytes to read, or for the end. The read lock is held.
func (s *stream) ready() error {
	for {
		local, lost, _ := s.state()
		switch {
		case local != nil:
			return local
		case s.left > 0:
			return nil
		case s.over != nil:
			return s.over
		case lost != nil:
			return lost
		}
		if err := s.head(); err != nil {
			return s.cut(err)
		}
	}
}

// took notes that n bytes of the record have been read.
func (s *stream) took(n int) {
	if s.left -= n; s.left == 0 && n > 0 {
		s.flow.done(s.chunk)
		select {
		case s.eaten <- struct{}{}:
		default:
		}
	}
}

// head reads one header, and the payload of anything but data. The read lock is held.
func (s *stream) head() error {
	b, err := s.in.Peek(headSize)
	if err != nil {
		return noEOF(err)
	}
	kind, n, err := parseHead(b)
	if err != nil {
		return err
	}
	s.in.Discard(headSize)
	if kind == recordData {
		if s.over != nil && n > 0 {
			return errFrame // bytes after the end
		}
		if s.chunk, s.left = n, n; n > 0 {
			s.flow.begin(n)
		}
		return nil
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return noEOF(err)
	}
	end := io.EOF
	if kind == recordFail {
		if end = decodeError(payload); end == errFrame {
			return end
		}
	}
	if s.over == nil {
		s.over = end
	}
	s.flow.finish()
	if kind != recordEnd {
		s.farewell(kind, end, payload)
	}
	return nil
}

// Write implements io.Writer. It fails with the handler's error if that has come meanwhile.
func (s *stream) Write(b []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	done := 0
	for {
		chunk := b[done:min(len(b), done+fullSize)]
		near := min(headSize+len(chunk), gather)
		if len(s.scratch) < near {
			s.scratch = make([]byte, max(near, min(2*near, gather)))
		}
		putHead(s.scratch, recordData, len(chunk))
		near = copy(s.scratch[headSize:], chunk)
		err := s.send(s.scratch[:headSize+near])
		if far := chunk[near:]; err == nil && len(far) > 0 {
			err = s.send(far)
		}
		if err != nil {
			return done, err
		}
		if done += len(chunk); done == len(b) {
			return done, nil
		}
	}
}

// ReadFrom implements io.ReaderFrom: what r gives goes out as it comes, without another copy.
func (s *stream) ReadFrom(r io.Reader) (int64, error) {
	b := make([]byte, gather)
	done := int64(0)
	for {
		n, err := r.Read(b[headSize:])
		if n > 0 {
			putHead(b, recordData, n)
			s.wmu.Lock()
			failed := s.send(b[:headSize+n])
			s.wmu.Unlock()
			if failed != nil {
				return done, failed
			}
			done += int64(n)
		}
		switch {
		case err == io.EOF:
			return done, nil
		case err != nil:
			return done, err
		case n == len(b)-headSize && len(b) < headSize+fullSize:
			b = make([]byte, headSize+fullSize)
		}
	}
}

// send writes to the libp2p stream. The write lock is held.
func (s *stream) send(b []byte) error {
	local, lost, gone := s.state()
	switch {
	case local != nil:
		return local
	case s.ended && gone == nil:
		return shut("write")
	case gone != nil:
		return gone
	case lost != nil:
		return lost
	}
	n, err := s.raw.Write(b)
	if err != nil {
		err = s.cut(noEOF(err))
		if _, _, gone := s.state(); gone != nil {
			return gone
		}
		return err
	}
	if s.written += int64(n); s.asker && !s.watching && s.written >= watchAfter {
		s.watching = true
		go s.watch()
	}
	return nil
}
