# Debian 12 and 13: their python3 is 3.11 and 3.13.
SYSTEMS='debian'
LINKS=/usr/local/bin
install_python() { with_apt python3; }
