"""The folder that goes onto PYTHONPATH to lead an unchanged program to the local Stream backend."""
