# Amazon Linux 2023: its python3 is 3.9; later ones are packages beside it.
SYSTEMS='amzn'
LINKS=/usr/bin # sudo's secure_path has no /usr/local/bin
install_python() { with_dnf python3.12 python3.11; }
