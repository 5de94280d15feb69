package region

import "errors"

func populate([]byte) error { return errors.ErrUnsupported }
